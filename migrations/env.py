"""How Alembic reaches the database: over the connection that it is handed, or one made from `DATABASE_URL`."""

import os

from alembic import context
from sqlalchemy import Connection

from log10_server.db.database import Database
from log10_server.db.schema import metadata


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    context.run_migrations()


handed = context.config.attributes.get("connection")
if handed is not None:
    run(handed)
else:
    with Database(os.environ.get("DATABASE_URL", "sqlite:///log10-server.db")).writing() as own:
        run(own)
