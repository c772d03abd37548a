"""Index the feedback that is not accepted.

These partial indexes stay small, because most feedback is accepted.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NOT_ACCEPTED = sa.text("state != 'accepted'")
INDEXES = {
    "ix_feedback_state_created_at_id": ["organization_id", "state", "created_at", "id"],
    "ix_feedback_task_id_state_created_at_id": ["organization_id", "task_id", "state", "created_at", "id"],
}


def upgrade() -> None:
    for name, columns in INDEXES.items():
        op.create_index(name, "feedback", columns, sqlite_where=NOT_ACCEPTED, postgresql_where=NOT_ACCEPTED)


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, table_name="feedback")
