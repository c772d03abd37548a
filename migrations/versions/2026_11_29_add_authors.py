"""Add names of tokens, and the author of feedback. Existing feedback has no author.

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
_AUTHOR = {"author": sa.Text(), "author_id": KEY, "author_kind": KEY}


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '10s'")
    op.add_column("token", sa.Column("name", KEY))
    is_good = sa.text("revoked_at IS NULL AND name IS NOT NULL")
    op.create_index(
        "ix_token_organization_id_name",
        "token",
        ["organization_id", "name"],
        unique=True,
        sqlite_where=is_good,
        postgresql_where=is_good,
    )
    for name, kind in _AUTHOR.items():
        op.add_column("feedback", sa.Column(name, kind))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '10s'")
    op.drop_index("ix_token_organization_id_name", "token")
    with op.batch_alter_table("token") as batch:
        batch.drop_column("name")
    with op.batch_alter_table("feedback") as batch:
        for name in _AUTHOR:
            batch.drop_column(name)
