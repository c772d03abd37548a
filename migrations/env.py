"""Runs migrations.

The program passes a connection to Alembic. Without one, for example on the command line, `DATABASE_URL` says which
database to migrate.
"""

import os

from alembic import context
from sqlalchemy import Connection

from log10_server.db.database import Database
from log10_server.db.schema import metadata


def run(connection: Connection) -> None:
    """Run the migrations that the command asks for, on this connection."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    context.run_migrations()


passed_connection = context.config.attributes.get("connection")
if passed_connection is not None:
    run(passed_connection)
else:
    with Database(os.environ.get("DATABASE_URL", "sqlite:///log10-server.db")).writing() as new_connection:
        run(new_connection)
