"""Add the tables of blocks of feedback values, which filters over values read. A background job fills them.

Postgres stores the columns and the positions without compressing them, because a filter reads all of a path.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "feedback_block",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("feedback_id", KEY, nullable=False),
        sa.Column("after_created_at", sa.BigInteger(), nullable=False),
        sa.Column("after_feedback_id", KEY, nullable=False),
        sa.Column("states", sa.Text(), nullable=False),
        sa.Column("tasks", sa.Text(), nullable=False),
        sa.Column("positions", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], name="fk_feedback_block_organization"),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_feedback_block"),
    )
    op.create_index(
        "ix_feedback_block_created_at_feedback_id",
        "feedback_block",
        ["organization_id", "created_at", "feedback_id"],
        unique=True,
    )
    op.create_table(
        "feedback_block_column",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("block_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("path", KEY, nullable=False),
        sa.Column("first_row", sa.Integer(), nullable=False),
        sa.Column("cells", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], name="fk_feedback_block_column_organization"),
        sa.PrimaryKeyConstraint("organization_id", "block_id", "path", name="pk_feedback_block_column"),
    )
    op.create_table(
        "feedback_block_change",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("feedback_id", KEY, nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], name="fk_feedback_block_change_organization"),
        sa.PrimaryKeyConstraint("organization_id", "created_at", "feedback_id", name="pk_feedback_block_change"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE feedback_block_column ALTER COLUMN cells SET STORAGE EXTERNAL")
        op.execute("ALTER TABLE feedback_block ALTER COLUMN positions SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_table("feedback_block_change")
    op.drop_table("feedback_block_column")
    op.drop_table("feedback_block")
