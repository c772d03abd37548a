"""Mark common tags, and store a row for each completion and each pair of its common tags."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

# A tag is common if more than this number of completions have it.
MAX_COMPLETIONS_OF_RARE_TAG = 1000
# The number of pairs grows with the square of the number of tags. So a completion with more tags than this gets no
# pairs, but one row for each of its common tags, with NO_SECOND_TAG in place of the second tag.
MAX_TAGS_FOR_PAIRS = 24
NO_SECOND_TAG = 0


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
            AND completion_tag.tag_id = tag.id LIMIT 1 OFFSET {MAX_COMPLETIONS_OF_RARE_TAG}
        ) IS NOT NULL
        """
    )
    # The order of the joins matters: both databases must first select the completions that don't have too many tags.
    # Otherwise they would build all pairs of the other completions too, only to discard them.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL join_collapse_limit = 1")
    of_selected = "{0}.organization_id = selected.organization_id AND {0}.completion_id = selected.completion_id"
    is_common = "{0}.organization_id = {1}.organization_id AND {0}.id = {1}.tag_id AND {0}.is_common"
    op.execute(
        f"""
        INSERT INTO completion_tag_pair (organization_id, first_tag_id, second_tag_id, created_at, completion_id)
        WITH selected AS MATERIALIZED (
            SELECT organization_id, completion_id FROM completion_tag GROUP BY organization_id, completion_id
            HAVING count(*) BETWEEN 2 AND {MAX_TAGS_FOR_PAIRS}
        )
        SELECT first_row.organization_id, first_row.tag_id, second_row.tag_id, first_row.created_at, first_row.completion_id
        FROM selected CROSS JOIN completion_tag AS first_row CROSS JOIN tag AS first_tag
        CROSS JOIN completion_tag AS second_row CROSS JOIN tag AS second_tag
        WHERE {of_selected.format("first_row")} AND {is_common.format("first_tag", "first_row")}
        AND {of_selected.format("second_row")} AND second_row.tag_id > first_row.tag_id
        AND {is_common.format("second_tag", "second_row")}
        """
    )
    op.execute(
        f"""
        INSERT INTO completion_tag_pair (organization_id, first_tag_id, second_tag_id, created_at, completion_id)
        WITH selected AS MATERIALIZED (
            SELECT organization_id, completion_id FROM completion_tag GROUP BY organization_id, completion_id
            HAVING count(*) > {MAX_TAGS_FOR_PAIRS}
        )
        SELECT first_row.organization_id, first_row.tag_id, {NO_SECOND_TAG}, first_row.created_at, first_row.completion_id
        FROM selected CROSS JOIN completion_tag AS first_row CROSS JOIN tag AS first_tag
        WHERE {of_selected.format("first_row")} AND {is_common.format("first_tag", "first_row")}
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
