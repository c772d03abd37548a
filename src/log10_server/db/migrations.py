"""Migrates the schema of a database with Alembic. Only one process at a time can migrate."""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from log10_server.db.database import Database
from log10_server.db.failures import WrongSchema

log = logging.getLogger(__name__)


def config(connection: Connection | None = None) -> Config:
    """Alembic's settings. The folder `migrations` is in the installed package, or at the root of a source checkout."""
    here = Path(__file__).resolve()
    beside, checkout = here.parents[1] / "migrations", here.parents[3] / "migrations"
    settings = Config(attributes={"connection": connection})
    settings.set_main_option("script_location", str(beside if beside.is_dir() else checkout).replace("%", "%%"))
    return settings


def head() -> str:
    """The newest revision that this program knows."""
    return str(ScriptDirectory.from_config(config()).get_current_head())


def current(connection: Connection) -> str | None:
    """The revision of the database's schema; None for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


def migrate(database: Database, revision: str = "head") -> None:
    """Migrate up to `revision`. When several processes call this at once, one migrates while the others wait.

    Raises WrongSchema if a newer version of this program has migrated the database, and Unavailable if the database
    can't be reached.
    """
    with database.migrating() as connection:
        settings = config(connection)
        stored = current(connection)
        if stored is not None:
            require_known(stored)
        if stored != head():
            # Log this before the migration begins, because a migration may take minutes.
            log.info("migrating the database from %s to %s", stored or "base", head())
        command.upgrade(settings, revision)


def require_known(revision: str) -> None:
    """Raises WrongSchema for a revision that this program does not know."""
    if all(script.revision != revision for script in ScriptDirectory.from_config(config()).walk_revisions()):
        raise WrongSchema(
            f"The database has the schema {revision}, which this program does not know: it was migrated by a newer "
            "log10-server. Install that version or a newer one."
        )


def downgrade(database: Database, revision: str) -> None:
    """Migrate down to `revision`; `base` is an empty database. Raises WrongSchema for an unknown revision."""
    with database.migrating() as connection:
        try:
            command.downgrade(config(connection), revision)
        except CommandError as error:
            raise WrongSchema(str(error)) from None
