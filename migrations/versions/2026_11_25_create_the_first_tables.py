"""Create the first tables: organizations, tokens, completions, feedback tasks, feedback, and the ungraded index."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The collation C makes Postgres sort keys by code point, as SQLite does.
KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "organization",
        sa.Column("id", KEY, nullable=False),
        sa.Column("slug", KEY, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_organization"),
        sa.UniqueConstraint("slug", name="uq_organization_slug"),
    )
    op.create_table(
        "feedback_task",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("id", KEY, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("instruction", sa.Text(), nullable=False),
        sa.Column("json_schema", sa.Text(), nullable=False),
        sa.Column("selector", sa.Text(), nullable=False),
        sa.Column("archived", sa.Boolean(), nullable=False),
        sa.Column("content_digest", KEY, nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], name="fk_feedback_task_organization"),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_feedback_task"),
    )
    op.create_index("ix_feedback_task_created_at_id", "feedback_task", ["organization_id", "created_at", "id"])
    op.create_table(
        "session",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("id", KEY, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], name="fk_session_organization"),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_session"),
    )
    op.create_table(
        "tag",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name_digest", KEY, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], name="fk_tag_organization"),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_tag"),
    )
    op.create_index("ix_tag_name_digest", "tag", ["organization_id", "name_digest"], unique=True)
    op.create_table(
        "token",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("id", KEY, nullable=False),
        sa.Column("digest", KEY, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], name="fk_token_organization"),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_token"),
    )
    op.create_index("ix_token_digest", "token", ["digest"], unique=True)
    op.create_index("ix_token_id", "token", ["id"], unique=True)
    op.create_table(
        "completion",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("id", KEY, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("session_id", KEY, nullable=True),
        sa.Column("kind", KEY, nullable=True),
        sa.Column("status", KEY, nullable=True),
        sa.Column("model", KEY, nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("duration", sa.Double(), nullable=True),
        sa.Column("failure_kind", sa.Text(), nullable=True),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=True),
        sa.Column("request", sa.Text(), nullable=True),
        sa.Column("response", sa.Text(), nullable=True),
        sa.Column("stacktrace", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id", "session_id"], ["session.organization_id", "session.id"], name="fk_completion_session"
        ),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], name="fk_completion_organization"),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_completion"),
    )
    op.create_index("ix_completion_created_at_id", "completion", ["organization_id", "created_at", "id"])
    op.create_index(
        "ix_completion_session_id_created_at_id", "completion", ["organization_id", "session_id", "created_at", "id"]
    )
    op.create_table(
        "feedback",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("id", KEY, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("task_id", KEY, nullable=False),
        sa.Column("json_values", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("completions_summary", sa.Text(), nullable=False),
        sa.Column("content_digest", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "task_id"],
            ["feedback_task.organization_id", "feedback_task.id"],
            name="fk_feedback_feedback_task",
        ),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], name="fk_feedback_organization"),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_feedback"),
    )
    op.create_index("ix_feedback_created_at_id", "feedback", ["organization_id", "created_at", "id"])
    op.create_index("ix_feedback_task_id_created_at_id", "feedback", ["organization_id", "task_id", "created_at", "id"])
    op.create_table(
        "feedback_task_tag",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("task_id", KEY, nullable=False),
        sa.Column("tag_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "tag_id"], ["tag.organization_id", "tag.id"], name="fk_feedback_task_tag_tag"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "task_id"],
            ["feedback_task.organization_id", "feedback_task.id"],
            name="fk_feedback_task_tag_feedback_task",
        ),
        sa.PrimaryKeyConstraint("organization_id", "task_id", "tag_id", name="pk_feedback_task_tag"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_feedback_task_tag_tag_id_task_id", "feedback_task_tag", ["organization_id", "tag_id", "task_id"]
    )
    op.create_table(
        "completion_tag",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("completion_id", KEY, nullable=False),
        sa.Column("tag_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "completion_id"],
            ["completion.organization_id", "completion.id"],
            name="fk_completion_tag_completion",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "tag_id"], ["tag.organization_id", "tag.id"], name="fk_completion_tag_tag"
        ),
        sa.PrimaryKeyConstraint("organization_id", "completion_id", "tag_id", name="pk_completion_tag"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_completion_tag_tag_id_created_at_completion_id",
        "completion_tag",
        ["organization_id", "tag_id", "created_at", "completion_id"],
    )
    op.create_table(
        "feedback_completion",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("feedback_id", KEY, nullable=False),
        sa.Column("completion_id", KEY, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("task_id", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "completion_id"],
            ["completion.organization_id", "completion.id"],
            name="fk_feedback_completion_completion",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "feedback_id"],
            ["feedback.organization_id", "feedback.id"],
            name="fk_feedback_completion_feedback",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "task_id"],
            ["feedback_task.organization_id", "feedback_task.id"],
            name="fk_feedback_completion_feedback_task",
        ),
        sa.PrimaryKeyConstraint("organization_id", "feedback_id", "completion_id", name="pk_feedback_completion"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_feedback_completion_completion_id_task_id",
        "feedback_completion",
        ["organization_id", "completion_id", "task_id"],
    )
    op.create_table(
        "ungraded",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("completion_id", KEY, nullable=False),
        sa.Column("task_id", KEY, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "completion_id"],
            ["completion.organization_id", "completion.id"],
            name="fk_ungraded_completion",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "task_id"],
            ["feedback_task.organization_id", "feedback_task.id"],
            name="fk_ungraded_feedback_task",
        ),
        sa.PrimaryKeyConstraint("organization_id", "completion_id", "task_id", name="pk_ungraded"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_ungraded_created_at_completion_id", "ungraded", ["organization_id", "created_at", "completion_id"]
    )
    op.create_index(
        "ix_ungraded_task_id_created_at_completion_id",
        "ungraded",
        ["organization_id", "task_id", "created_at", "completion_id"],
    )


def downgrade() -> None:
    op.drop_index("ix_ungraded_task_id_created_at_completion_id", table_name="ungraded")
    op.drop_index("ix_ungraded_created_at_completion_id", table_name="ungraded")
    op.drop_table("ungraded")
    op.drop_index("ix_feedback_completion_completion_id_task_id", table_name="feedback_completion")
    op.drop_table("feedback_completion")
    op.drop_index("ix_completion_tag_tag_id_created_at_completion_id", table_name="completion_tag")
    op.drop_table("completion_tag")
    op.drop_index("ix_feedback_task_tag_tag_id_task_id", table_name="feedback_task_tag")
    op.drop_table("feedback_task_tag")
    op.drop_index("ix_feedback_task_id_created_at_id", table_name="feedback")
    op.drop_index("ix_feedback_created_at_id", table_name="feedback")
    op.drop_table("feedback")
    op.drop_index("ix_completion_session_id_created_at_id", table_name="completion")
    op.drop_index("ix_completion_created_at_id", table_name="completion")
    op.drop_table("completion")
    op.drop_index("ix_token_id", table_name="token")
    op.drop_index("ix_token_digest", table_name="token")
    op.drop_table("token")
    op.drop_index("ix_tag_name_digest", table_name="tag")
    op.drop_table("tag")
    op.drop_table("session")
    op.drop_index("ix_feedback_task_created_at_id", table_name="feedback_task")
    op.drop_table("feedback_task")
    op.drop_table("organization")
