"""Add the state of feedback: proposed, accepted or rejected. Existing feedback is accepted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("feedback", sa.Column("state", KEY, nullable=False, server_default="accepted"))


def downgrade() -> None:
    # The older program has no states and would treat all feedback as accepted, so what is not accepted is deleted.
    feedback_completion, feedback = sa.table("feedback_completion"), sa.table("feedback", sa.column("state"))
    not_accepted = "SELECT organization_id, id FROM feedback WHERE state <> 'accepted'"
    op.execute(f"DELETE FROM {feedback_completion.name} WHERE (organization_id, feedback_id) IN ({not_accepted})")
    op.execute(sa.delete(feedback).where(feedback.c.state != "accepted"))
    with op.batch_alter_table("feedback") as batch:
        batch.drop_column("state")
