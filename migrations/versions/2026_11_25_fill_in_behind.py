"""Note how far the rows of a changed task are filled in; all that is there is whole."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "ungraded_backfill",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("task_id", KEY, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("completion_id", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "task_id"],
            ["feedback_task.organization_id", "feedback_task.id"],
            name="fk_ungraded_backfill_feedback_task",
        ),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], name="fk_ungraded_backfill_organization"),
        sa.PrimaryKeyConstraint("organization_id", "task_id", name="pk_ungraded_backfill"),
    )


def downgrade() -> None:
    op.drop_table("ungraded_backfill")
