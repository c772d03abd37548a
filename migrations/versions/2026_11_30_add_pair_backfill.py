"""Record how far the rows for pairs are filled for a tag that was marked as common a short time ago.

The rows are complete for the tags that are common when this migration runs.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
# A completion with more tags than this has no pairs, but one row for each of its common tags, with NO_SECOND_TAG in
# place of the second tag.
MAX_TAGS_FOR_PAIRS = 24
NO_SECOND_TAG = 0


def upgrade() -> None:
    op.create_table(
        "pair_backfill",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("tag_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("completion_id", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "tag_id"], ["tag.organization_id", "tag.id"], name="fk_pair_backfill_tag"
        ),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], name="fk_pair_backfill_organization"),
        sa.PrimaryKeyConstraint("organization_id", "tag_id", name="pk_pair_backfill"),
    )


def downgrade() -> None:
    """Add the missing rows, because the older program expects them to be complete for every common tag."""
    number_of_tags = (
        "(SELECT count(*) FROM completion_tag AS each_tag WHERE each_tag.organization_id = first_row.organization_id"
        " AND each_tag.completion_id = first_row.completion_id)"
    )
    completions = (
        " FROM pair_backfill JOIN completion_tag AS first_row"
        " ON first_row.organization_id = pair_backfill.organization_id AND first_row.tag_id = pair_backfill.tag_id"
    )
    columns = "(organization_id, first_tag_id, second_tag_id, created_at, completion_id)"
    op.execute(
        f"INSERT INTO completion_tag_pair {columns} SELECT first_row.organization_id,"
        " CASE WHEN first_row.tag_id < second_row.tag_id THEN first_row.tag_id ELSE second_row.tag_id END,"
        " CASE WHEN first_row.tag_id < second_row.tag_id THEN second_row.tag_id ELSE first_row.tag_id END,"
        f" first_row.created_at, first_row.completion_id{completions}"
        " JOIN completion_tag AS second_row ON second_row.organization_id = first_row.organization_id"
        " AND second_row.completion_id = first_row.completion_id AND second_row.tag_id <> first_row.tag_id"
        " JOIN tag ON tag.organization_id = second_row.organization_id AND tag.id = second_row.tag_id"
        f" WHERE tag.is_common AND {number_of_tags} <= {MAX_TAGS_FOR_PAIRS} ON CONFLICT DO NOTHING"
    )
    op.execute(
        f"INSERT INTO completion_tag_pair {columns} SELECT first_row.organization_id, first_row.tag_id,"
        f" {NO_SECOND_TAG}, first_row.created_at, first_row.completion_id{completions}"
        f" WHERE {number_of_tags} > {MAX_TAGS_FOR_PAIRS} ON CONFLICT DO NOTHING"
    )
    op.drop_table("pair_backfill")
