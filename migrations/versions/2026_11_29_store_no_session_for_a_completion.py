"""Let completions name sessions that have no row, so that a completion in a new session writes no second row.

This takes milliseconds whatever the size of the database, because only the constraint is removed. The way back stores
the missing sessions, which reads the index of completions by session once.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

NAME = "fk_completion_session"
CONSTRAINT = f"CONSTRAINT {NAME} FOREIGN KEY(organization_id, session_id) REFERENCES session (organization_id, id)"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(NAME, "completion", type_="foreignkey")
    else:
        _edit_table(f", \n\t{CONSTRAINT}", "")


def downgrade() -> None:
    op.execute(
        """
        INSERT INTO session (organization_id, id, created_at)
        SELECT organization_id, session_id, min(created_at) FROM completion
        WHERE session_id IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM session
            WHERE session.organization_id = completion.organization_id AND session.id = completion.session_id
        )
        GROUP BY organization_id, session_id
        """
    )
    if op.get_bind().dialect.name == "postgresql":
        op.create_foreign_key(
            NAME, "completion", "session", ["organization_id", "session_id"], ["organization_id", "id"]
        )
    else:
        organization = ", \n\tCONSTRAINT fk_completion_organization"
        _edit_table(organization, f", \n\t{CONSTRAINT}{organization}")


def _edit_table(old: str, new: str) -> None:
    """Replace a part of the CREATE TABLE of `completion` that SQLite has stored.

    SQLite has no statement that removes a constraint. To copy the table, as Alembic would, takes minutes and as much
    disk again for a million completions. SQLite's documentation ("ALTER TABLE", section 8) describes this way for
    changes that do not affect how rows are stored.
    """
    connection = op.get_bind()
    stored = "FROM sqlite_master WHERE type = 'table' AND name = 'completion'"
    create_table = connection.scalar(sa.text(f"SELECT sql {stored}"))
    edited = create_table.replace(old, new)
    if edited == create_table:
        raise ValueError("The table completion was not created by the migrations of this program.")
    version = connection.scalar(sa.text("PRAGMA schema_version"))
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    connection.exec_driver_sql(
        "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = 'completion'", (edited,)
    )
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")
