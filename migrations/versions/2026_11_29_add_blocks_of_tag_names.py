"""Add the table of blocks of tag names, which a search reads. A background job fills it.

Postgres stores the blocks without compressing them, because a search reads them all.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "tag_name_block",
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("last_tag_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("names", sa.Text(), nullable=False),
        sa.Column("tag_ids", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], name="fk_tag_name_block_organization"),
        sa.PrimaryKeyConstraint("organization_id", "last_tag_id", name="pk_tag_name_block"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE tag_name_block ALTER COLUMN names SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_table("tag_name_block")
