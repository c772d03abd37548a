"""Mark common tags, and store a row for each completion and each pair of its common tags."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

# A tag on more than ABOVE completions is common. The number of pairs grows with the square of the number of tags, so
# for a completion with more than CROWD tags no pairs are stored, but one row for each of its common tags, with 0 as the
# second tag.
ABOVE = 1000
CROWD = 24


def upgrade() -> None:
    op.add_column("tag", sa.Column("is_common", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "completion_tag_pair",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("first_tag_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("second_tag_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("completion_id", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "first_tag_id"], ["tag.organization_id", "tag.id"], name="fk_completion_tag_pair_tag"
        ),
        sa.PrimaryKeyConstraint(
            "organization_id",
            "first_tag_id",
            "second_tag_id",
            "created_at",
            "completion_id",
            name="pk_completion_tag_pair",
        ),
        sqlite_with_rowid=False,
    )
    op.execute(
        f"""
        UPDATE tag SET is_common = true WHERE (
            SELECT 1 FROM completion_tag WHERE completion_tag.organization_id = tag.organization_id
            AND completion_tag.tag_id = tag.id LIMIT 1 OFFSET {ABOVE}
        ) IS NOT NULL
        """
    )
    # The order of the joins matters: both databases must first select the completions that don't have too many tags.
    # Otherwise they would build all pairs of the other completions too, only to discard them.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL join_collapse_limit = 1")
    its = "{0}.organization_id = chosen.organization_id AND {0}.completion_id = chosen.completion_id"
    marked = "{0}.organization_id = {1}.organization_id AND {0}.id = {1}.tag_id AND {0}.is_common"
    op.execute(
        f"""
        INSERT INTO completion_tag_pair (organization_id, first_tag_id, second_tag_id, created_at, completion_id)
        WITH chosen AS MATERIALIZED (
            SELECT organization_id, completion_id FROM completion_tag GROUP BY organization_id, completion_id
            HAVING count(*) BETWEEN 2 AND {CROWD}
        )
        SELECT one.organization_id, one.tag_id, two.tag_id, one.created_at, one.completion_id
        FROM chosen CROSS JOIN completion_tag AS one CROSS JOIN tag AS one_tag
        CROSS JOIN completion_tag AS two CROSS JOIN tag AS two_tag
        WHERE {its.format("one")} AND {marked.format("one_tag", "one")}
        AND {its.format("two")} AND two.tag_id > one.tag_id AND {marked.format("two_tag", "two")}
        """
    )
    op.execute(
        f"""
        INSERT INTO completion_tag_pair (organization_id, first_tag_id, second_tag_id, created_at, completion_id)
        WITH chosen AS MATERIALIZED (
            SELECT organization_id, completion_id FROM completion_tag GROUP BY organization_id, completion_id
            HAVING count(*) > {CROWD}
        )
        SELECT one.organization_id, one.tag_id, 0, one.created_at, one.completion_id
        FROM chosen CROSS JOIN completion_tag AS one CROSS JOIN tag AS one_tag
        WHERE {its.format("one")} AND {marked.format("one_tag", "one")}
        """
    )
    if op.get_bind().dialect.name == "postgresql":
        # Postgres analyzes a table only some time after it was filled. Until then it has no statistics, and would sort
        # whole ranges.
        op.execute("ANALYZE completion_tag_pair")


def downgrade() -> None:
    op.drop_table("completion_tag_pair")
    with op.batch_alter_table("tag") as batch:
        batch.drop_column("is_common")
