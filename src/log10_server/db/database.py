"""The class `Database`, which begins and ends transactions on SQLite or Postgres."""

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

# Layers above the store import `Connection` from here and not from SQLAlchemy. They only pass connections on.
__all__ = ["Connection", "Database", "database_url"]

T = TypeVar("T")


class Database:
    """One database, SQLite or Postgres, for all organizations. Creating the object opens no connection."""

    def __init__(self, url: str, readers: int = 4, clock: Clock | None = None) -> None:
        """Raises SettingsError for a URL that can't be used. The default `clock` is the system's."""
        self.url = database_url(url)
        self.backend = _backend(self.url, readers)
        self.clock = clock or Clock()
        self.thresholds = Thresholds()
        self.outage = Outage(self.backend.describe())
        self._connections = Connections(self.backend.read_engine, self.backend.write_engine, self.outage)

    @property
    def kind(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.backend.name

    def describe(self) -> str:
        """A description of the database for the operator, without its password."""
        return self.backend.describe()

    def exists(self) -> bool:
        """Whether the database exists. This does not open a SQLite file, because opening it would create it."""
        return self.backend.exists()

    def close(self) -> None:
        """Close all connections that are not in use."""
        self._connections.close()

    @contextmanager
    def reading(self, deadline: float | None = None) -> Iterator[Connection]:
        """A connection to read with.

        After `deadline` (a value of `time.monotonic`) a running SQLite statement fails, and `Tx.check_deadline` raises.
        Postgres ignores the deadline and has its own statement timeout. Raises Unavailable when time is up or the
        database can't be reached.
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
    def writing_for(
        self, organization_ids: Sequence[str], awaited: str | None = None
    ) -> Iterator[tuple[Connection, dict[str, Tx]]]:
        """The same as `writing`, with a `Tx` for each of these organizations, which are locked at the beginning.

        An organization that another transaction has already locked is left out. If that are all of them, or if the
        organization `awaited` is locked, this waits a moment for the lock.
        """
        with self._transaction(organization_ids, awaited) as (connection, locked):
            yield connection, {organization_id: self._tx(connection, organization_id) for organization_id in locked}

    def tx(self, connection: Connection, organization_id: str) -> Tx:
        """A `Tx` for the organization, in the transaction on `connection`.

        On a connection to write with, the organization is locked until the transaction ends. So no other transaction
        changes what this one has read, two transactions can't deadlock by locking rows in different orders, and a new
        task and a new completion that matches it can't be written at once without seeing each other. Transactions of
        different organizations can still write at the same time.
        """
        if connection.get_execution_options().get("log10_writes"):
            self.backend.lock_organization(connection, organization_id)
        return self._tx(connection, organization_id)

    def lock_exclusively(self, connection: Connection, purpose: str) -> None:
        """Wait for the lock that is named `purpose`, and hold it until the transaction ends."""
        self.backend.lock_exclusively(connection, purpose)

    def read(self, work: Callable[[Connection], T], deadline: float | None = None) -> T:
        """Run `work` on a connection to read with, and once more on a new connection if the first one was lost.

        Raises Unavailable when the database can't be reached, or at `deadline` (a value of `time.monotonic`).
        """

        def attempt() -> T:
            with self.reading(deadline) as connection:
                return work(connection)

        return retries.READ.run(attempt, lambda error: isinstance(error, ConnectionLost))

    def write(self, organization_id: str, work: Callable[[Tx], T]) -> T:
        """Run `work` in a new transaction, and commit it. Both are repeated after a conflict with another
        transaction, after a violated key, and after the connection was lost before the commit.

        Raises Unavailable when a conflict or a lost connection keeps happening, the driver's error when the key is
        still violated, and OutcomeUnknown when the connection was lost during the commit.
        """

        def attempt() -> T:
            with self.writing() as connection:
                return work(self.tx(connection, organization_id))

        try:
            return retries.WRITE.run(attempt, self._is_transient)
        except Exception as error:
            if self.backend.is_conflict(error):
                raise Unavailable("The write failed several times. Try again.", code="overloaded") from error
            raise

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A transaction for migrations; only one process at a time has one. A missing SQLite file is created first."""
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
        """Wait for a server to answer, and try at least once. Raises Unavailable if none comes within `seconds`.

        For a SQLite file this does nothing: opening the file would create it, and there is no server to wait for.
        """
        if self.backend.is_server:
            policy = retries.START._replace(seconds=seconds)
            policy.run(lambda: self.read(self.ping), lambda error: isinstance(error, Unavailable))

    @contextmanager
    def _transaction(
        self, organization_ids: Sequence[str], awaited: str | None = None
    ) -> Iterator[tuple[Connection, list[str]]]:
        """A connection in a transaction, and the ids of those organizations that could be locked for it."""
        is_committing = False
        try:
            with self._connections.lend_writer() as connection, connection.begin():
                yield connection, list(self.backend.begin_write(connection, organization_ids, awaited))
                is_committing = True
                self.backend.commit(connection)
        except DRIVER_ERRORS as error:
            self._raise_refusal(error, is_committing=is_committing)
            raise

    def _tx(self, connection: Connection, organization_id: str) -> Tx:
        return Tx(self.backend, self.clock, self.thresholds, connection, organization_id)

    def _is_transient(self, error: Exception) -> bool:
        return isinstance(error, ConnectionLost) or self.backend.is_conflict(error) or self.backend.violates_key(error)

    def _raise_refusal(self, error: Exception, *, is_committing: bool) -> None:
        """Raise the refusal that the client gets for this error. Returns if the error is a bug in this program."""
        refusal = self.backend.refusal(error, is_committing=is_committing)
        if refusal is not None:
            raise refusal from error


def database_url(url: str) -> URL:
    """The parsed URL, with the name of the driver to use. Raises SettingsError for a URL that can't be used."""
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
    from log10_server.db.postgres import Postgres  # imported only when needed: psycopg is slow to load

    return Postgres(url, readers)
