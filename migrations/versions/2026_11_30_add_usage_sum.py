"""Add the sums of the usage. They are empty at first, and the server fills them (see 0009).

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "usage_sum",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("tag_id", sa.BigInteger(), nullable=False),
        sa.Column("days", sa.BigInteger(), nullable=False),
        sa.Column("first_day", sa.BigInteger(), nullable=False),
        sa.Column("sums", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], name="fk_usage_sum_organization"),
        sa.PrimaryKeyConstraint("organization_id", "tag_id", "days", "first_day", name="pk_usage_sum"),
    )
    op.create_index("ix_usage_sum_days_first_day", "usage_sum", ["organization_id", "days", "first_day"])
    # What was rolled up before this migration is not in the sums, so the roll-up begins again, for all summaries.
    op.execute("DELETE FROM rollup")
    op.execute("DELETE FROM list_range WHERE list_name = 'completion' OR list_name LIKE 'completion:%'")


def downgrade() -> None:
    op.drop_table("usage_sum")
