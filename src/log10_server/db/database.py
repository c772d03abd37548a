"""The database: how a transaction begins and ends on one of its connections, whichever kind of database it is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from log10_server.clock import Clock
from log10_server.db import retries
from log10_server.db.backend import Backend
from log10_server.db.connections import Connections
from log10_server.db.failures import DRIVER_ERRORS, ConnectionLost
from log10_server.db.outage import Outage
from log10_server.db.sqlite import Sqlite
from log10_server.db.thresholds import Thresholds
from log10_server.db.transaction import Tx
from log10_server.errors import Unavailable
from log10_server.settings import SettingsError

# Code above the store imports this name from here: it passes connections on, and looks into none.
__all__ = ["Connection", "Database", "database_url"]

T = TypeVar("T")


class Database:
    """One database, SQLite or Postgres, for all organizations. Opening it opens no connection yet."""

    def __init__(self, url: str, readers: int = 4, clock: Clock | None = None) -> None:
        """Raises SettingsError for a URL of another kind. Without a `clock`, the system's clock is used."""
        self.url = database_url(url)
        self.backend = _backend(self.url, readers)
        self.clock = clock or Clock()
        self.thresholds = Thresholds()
        # Readers and writers keep connections of their own: they differ in what each is told when it opens.
        self.outage = Outage(self.backend.describe())
        self._connections = Connections(self.backend.read_engine, self.backend.write_engine, self.outage)

    @property
    def kind(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.backend.name

    def describe(self) -> str:
        """Which database this is, for an operator; without a password."""
        return self.backend.describe()

    def exists(self) -> bool:
        """Whether the database is there. SQLite would create a file that is not as soon as it is opened."""
        return self.backend.exists()

    def close(self) -> None:
        """Close all connections that nobody uses."""
        self._connections.close()

    @contextmanager
    def reading(self, deadline: float | None = None) -> Iterator[Connection]:
        """A connection to read with.

        After `deadline` (of `time.monotonic`) SQLite ends its statement, and `Tx.check_deadline` raises; Postgres has
        a timeout of its own. Raises Unavailable then, and while the database can't be reached.
        """
        try:
            with self._connections.lend_reader() as connection:
                connection.info["log10_deadline"] = deadline
                self.backend.begin_read(connection, deadline)
                try:
                    yield connection
                finally:
                    self.backend.end_read(connection)
        except DRIVER_ERRORS as error:
            self._raise_refusal(error, is_committing=False)
            raise

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a transaction that is committed at the end, or rolled back when an exception passes.

        Raises Unavailable when the database can't be reached or the commit did not succeed.
        """
        with self._transaction(()) as (connection, _):
            yield connection

    @contextmanager
    def writing_for(self, organization_ids: Sequence[str]) -> Iterator[tuple[Connection, dict[str, Tx]]]:
        """As `writing`, with a `Tx` for each of these organizations, all locked when the transaction begins.

        An organization that another transaction has locked just now is left out.
        """
        with self._transaction(organization_ids) as (connection, locked):
            yield connection, {organization_id: self._tx(connection, organization_id) for organization_id in locked}

    def tx(self, connection: Connection, organization_id: str) -> Tx:
        """The transaction on `connection` as that organization sees it.

        On a connection to write with, the organization is locked until the transaction ends: what was looked up stays
        so, no two transactions lock rows in different orders, and a new task and a completion that are written at the
        same moment can't miss each other. Different organizations are written at the same time.
        """
        if connection.get_execution_options().get("log10_writes"):
            self.backend.lock_organization(connection, organization_id)
        return self._tx(connection, organization_id)

    def lock_exclusively(self, connection: Connection, purpose: str) -> None:
        """Until the transaction ends, no other process holds the lock of this name."""
        self.backend.lock_exclusively(connection, purpose)

    def read(self, work: Callable[[Connection], T], deadline: float | None = None) -> T:
        """Run `work` on a connection to read with; again on a new one when the first turns out to be lost.

        Raises Unavailable, after `deadline` (of `time.monotonic`) too.
        """

        def attempt() -> T:
            with self.reading(deadline) as connection:
                return work(connection)

        return retries.READ.run(attempt, lambda error: isinstance(error, ConnectionLost))

    def write(self, organization_id: str, work: Callable[[Tx], T]) -> T:
        """Run `work` in a transaction of its own, and commit; again when another transaction was in the way, or when
        the connection was lost before the commit.

        Raises Unavailable when that keeps happening, and OutcomeUnknown when the connection was lost in the commit.
        """

        def attempt() -> T:
            with self.writing() as connection:
                return work(self.tx(connection, organization_id))

        try:
            return retries.WRITE.run(attempt, self._is_transient)
        except Exception as error:
            if self.backend.is_conflict(error):
                raise Unavailable("The write kept failing. Try again.", code="overloaded") from error
            raise

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A transaction for migrations, which no other program's migration shares. SQLite's file is made first."""
        try:
            with self.backend.migrating() as connection:
                yield connection
        except DRIVER_ERRORS as error:
            self._raise_refusal(error, is_committing=False)
            raise

    def ping(self, connection: Connection) -> None:
        """Run a trivial query. Raises the driver's error when the database does not answer."""
        connection.execute(text("SELECT 1")).close()

    def wait_until_reachable(self, seconds: float) -> None:
        """Raises Unavailable when a server does not answer within `seconds`; asks at least once.

        A file is not waited for: it is there or can be made, and to look into it would make it.
        """
        if self.backend.is_server:
            policy = retries.START._replace(seconds=seconds)
            policy.run(lambda: self.read(self.ping), lambda error: isinstance(error, Unavailable))

    @contextmanager
    def _transaction(self, organization_ids: Sequence[str]) -> Iterator[tuple[Connection, list[str]]]:
        """A connection in a transaction, and those of these organizations that are locked for it."""
        is_committing = False
        try:
            with self._connections.lend_writer() as connection, connection.begin():
                yield connection, list(self.backend.begin_write(connection, organization_ids))
                is_committing = True
                self.backend.commit(connection)
        except DRIVER_ERRORS as error:
            self._raise_refusal(error, is_committing=is_committing)
            raise

    def _tx(self, connection: Connection, organization_id: str) -> Tx:
        return Tx(self.backend, self.clock, self.thresholds, connection, organization_id)

    def _is_transient(self, error: Exception) -> bool:
        return isinstance(error, ConnectionLost) or self.backend.is_conflict(error)

    def _raise_refusal(self, error: Exception, *, is_committing: bool) -> None:
        """Raise what an error means to a caller; nothing where it is a defect of ours."""
        refusal = self.backend.refusal(error, is_committing=is_committing)
        if refusal is not None:
            raise refusal from error


def database_url(url: str) -> URL:
    """The URL with the driver that is used here. Raises SettingsError for another kind of database."""
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError):
        raise SettingsError(
            "DATABASE_URL can't be read. Give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE."
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise SettingsError("DATABASE_URL names no file. Give sqlite:///FILE.")
        return parsed.set(drivername="sqlite")
    if backend == "postgresql":
        if "@" in (parsed.host or ""):
            raise SettingsError("DATABASE_URL has an @ in its user or password: write it as %40.")
        return parsed.set(drivername="postgresql+psycopg")
    raise SettingsError(f"DATABASE_URL names a {backend} database. Give sqlite:///FILE or postgresql://….")


def _backend(url: URL, readers: int) -> Backend:
    if url.get_backend_name() == "sqlite":
        return Sqlite(url, readers)
    from log10_server.db.postgres import Postgres  # its driver takes a while to load, and SQLite needs none of it

    return Postgres(url, readers)
