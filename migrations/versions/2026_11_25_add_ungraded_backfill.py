"""Record how far the index of ungraded completions is filled for a new or changed task.

The index is complete for the tasks that exist when this migration runs.
"""

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
    """Fill the index of ungraded completions completely.

    The older program expects the index to be complete for every task.
    """
    op.execute(
        "DELETE FROM ungraded WHERE EXISTS (SELECT 1 FROM ungraded_backfill AS backfill"
        " WHERE backfill.organization_id = ungraded.organization_id AND backfill.task_id = ungraded.task_id)"
    )
    # A completion is ungraded for a task that is not archived if it has all tags of the task and no accepted feedback.
    op.execute(
        "INSERT INTO ungraded (organization_id, completion_id, task_id, created_at)"
        " SELECT completion_tag.organization_id, completion_tag.completion_id, backfill.task_id,"
        " min(completion_tag.created_at)"
        " FROM ungraded_backfill AS backfill"
        " JOIN feedback_task AS task ON task.organization_id = backfill.organization_id AND task.id = backfill.task_id"
        " JOIN feedback_task_tag AS task_tag"
        " ON task_tag.organization_id = task.organization_id AND task_tag.task_id = task.id"
        " JOIN completion_tag"
        " ON completion_tag.organization_id = task_tag.organization_id AND completion_tag.tag_id = task_tag.tag_id"
        " WHERE NOT task.archived AND NOT EXISTS (SELECT 1 FROM feedback_completion AS link"
        " JOIN feedback ON feedback.organization_id = link.organization_id AND feedback.id = link.feedback_id"
        " WHERE link.organization_id = completion_tag.organization_id"
        " AND link.completion_id = completion_tag.completion_id"
        " AND link.task_id = task.id AND feedback.state = 'accepted')"
        " GROUP BY completion_tag.organization_id, completion_tag.completion_id, backfill.task_id"
        " HAVING count(*) = (SELECT count(*) FROM feedback_task_tag AS required_tag"
        " WHERE required_tag.organization_id = completion_tag.organization_id"
        " AND required_tag.task_id = backfill.task_id)"
    )
    op.drop_table("ungraded_backfill")
