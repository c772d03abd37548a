"""Record how far the completions of each organization are rolled up. Nothing is at first, so the server catches up.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "rollup",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("completion_id", KEY, nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], name="fk_rollup_organization"),
        sa.PrimaryKeyConstraint("organization_id", name="pk_rollup"),
    )


def downgrade() -> None:
    op.drop_table("rollup")
