"""Bring a database to the schema of this program, one program at a time."""

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
    """Alembic's settings; the migrations lie beside the package when installed, at the top of a checkout."""
    here = Path(__file__).resolve()
    beside, checkout = here.parents[1] / "migrations", here.parents[3] / "migrations"
    settings = Config(attributes={"connection": connection})
    settings.set_main_option("script_location", str(beside if beside.is_dir() else checkout).replace("%", "%%"))
    return settings


def head() -> str:
    """The newest revision that this program knows."""
    return str(ScriptDirectory.from_config(config()).get_current_head())


def current(connection: Connection) -> str | None:
    """The revision that the database has; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def migrate(database: Database, revision: str = "head") -> None:
    """Migrate up to `revision`. Several programs may call this at once: one migrates, the others find it done.

    Raises WrongSchema for a database of a newer program, Unavailable when it can't be reached.
    """
    with database.migrating() as connection:
        settings = config(connection)
        stored = current(connection)
        if stored is not None:
            require_known(stored)
        if stored != head():
            # Logged before it begins, because it may take minutes.
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
    """Migrate down to `revision` (`base`: an empty database). Raises WrongSchema for one that is not known."""
    with database.migrating() as connection:
        try:
            command.downgrade(config(connection), revision)
        except CommandError as error:
            raise WrongSchema(str(error)) from None
