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
        "DELETE FROM ungraded WHERE EXISTS (SELECT 1 FROM ungraded_backfill AS noted"
        " WHERE noted.organization_id = ungraded.organization_id AND noted.task_id = ungraded.task_id)"
    )
    op.execute(
        "INSERT INTO ungraded (organization_id, completion_id, task_id, created_at)"
        " SELECT tagged.organization_id, tagged.completion_id, noted.task_id, min(tagged.created_at)"
        " FROM ungraded_backfill AS noted"
        " JOIN feedback_task AS task ON task.organization_id = noted.organization_id AND task.id = noted.task_id"
        " JOIN feedback_task_tag AS named ON named.organization_id = task.organization_id AND named.task_id = task.id"
        " JOIN completion_tag AS tagged"
        " ON tagged.organization_id = named.organization_id AND tagged.tag_id = named.tag_id"
        " WHERE NOT task.archived AND NOT EXISTS (SELECT 1 FROM feedback_completion AS about"
        " JOIN feedback ON feedback.organization_id = about.organization_id AND feedback.id = about.feedback_id"
        " WHERE about.organization_id = tagged.organization_id AND about.completion_id = tagged.completion_id"
        " AND about.task_id = task.id AND feedback.state = 'accepted')"
        " GROUP BY tagged.organization_id, tagged.completion_id, noted.task_id"
        " HAVING count(*) = (SELECT count(*) FROM feedback_task_tag AS all_named"
        " WHERE all_named.organization_id = tagged.organization_id AND all_named.task_id = noted.task_id)"
    )
    op.drop_table("ungraded_backfill")
