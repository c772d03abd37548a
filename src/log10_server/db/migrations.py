"""Bring a database to the schema of this program, one program at a time."""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from log10_server.db.database import Database
from log10_server.db.failures import refused
from log10_server.errors import Unavailable

log = logging.getLogger(__name__)


class WrongSchema(Exception):
    """The database can't be brought to this program's schema; the text says why."""


def config(connection: Connection | None = None) -> Config:
    """Alembic's settings; the migrations lie beside the package when installed, at the top of a checkout."""
    here = Path(__file__).resolve()
    beside, checkout = here.parents[1] / "migrations", here.parents[3] / "migrations"
    found = Config(attributes={"connection": connection})
    found.set_main_option("script_location", str(beside if beside.is_dir() else checkout).replace("%", "%%"))
    return found


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
    with _locked(database) as connection:
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
    with _locked(database) as connection:
        try:
            command.downgrade(config(connection), revision)
        except CommandError as error:
            raise WrongSchema(str(error)) from None


def wait_until_reachable(database: Database, seconds: float) -> None:
    """Raises Unavailable when the database does not answer within `seconds`; asks at least once."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            with database.reading() as connection:
                connection.execute(text("SELECT 1"))
            return
        except Unavailable:
            if time.monotonic() >= give_up:
                raise
            time.sleep(0.5)


@contextmanager
def _locked(database: Database) -> Iterator[Connection]:
    """A transaction that no other migration shares."""
    if database.is_postgres:
        with database.writing() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '120s'"))
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            database.lock_exclusively(connection, "migration")
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
            yield connection
        return
    _make_file(Path(str(database.url.database)))
    with database.engine.connect().execution_options(log10_writes=True) as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.execute("PRAGMA journal_mode=WAL")
        driver.execute("PRAGMA foreign_keys=OFF")  # a batch migration drops and renames tables
        try:
            with connection.begin():
                yield connection
                if broken := driver.execute("PRAGMA foreign_key_check").fetchall():
                    raise WrongSchema(f"The migration would break {len(broken)} references; nothing was changed.")
        except sqlite3.DatabaseError as error:
            raise refused(error) from error
        finally:
            driver.execute("PRAGMA foreign_keys=ON")


def _make_file(path: Path) -> None:
    """The SQLite file, in WAL mode, readable by its owner alone: it holds what people asked."""
    try:
        if path.is_dir():
            raise WrongSchema(f"The database file {path} is a folder.")
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass  # another program has just made it
    except OSError as error:
        raise WrongSchema(f"The database file {path.resolve()} can't be made: {error.strerror}.") from None
