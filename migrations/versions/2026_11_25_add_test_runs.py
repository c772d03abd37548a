"""Add test runs, and the reports that `pytest --log10` uploads."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "test_run",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("id", KEY, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("upload_digest", KEY),
        sa.Column("uploaded_at", sa.BigInteger()),
        sa.Column("summary", sa.Text()),
        sa.Column("report", sa.Text()),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], name="fk_test_run_organization"),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_test_run"),
    )
    op.create_index("ix_test_run_created_at_id", "test_run", ["organization_id", "created_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_test_run_created_at_id", table_name="test_run")
    op.drop_table("test_run")
