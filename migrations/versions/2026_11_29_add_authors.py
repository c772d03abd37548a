"""Add the name of tokens and the author of feedback. Existing feedback has no author.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_AUTHOR_COLUMNS = {"author": sa.Text(), "author_id": KEY, "author_kind": KEY}


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '10s'")
    op.add_column("token", sa.Column("name", KEY))
    is_active_with_name = sa.text("revoked_at IS NULL AND name IS NOT NULL")
    op.create_index(
        "ix_token_organization_id_name",
        "token",
        ["organization_id", "name"],
        unique=True,
        sqlite_where=is_active_with_name,
        postgresql_where=is_active_with_name,
    )
    for name, column_type in _AUTHOR_COLUMNS.items():
        op.add_column("feedback", sa.Column(name, column_type))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '10s'")
    op.drop_index("ix_token_organization_id_name", "token")
    with op.batch_alter_table("token") as batch:
        batch.drop_column("name")
    with op.batch_alter_table("feedback") as batch:
        for name in _AUTHOR_COLUMNS:
            batch.drop_column(name)
