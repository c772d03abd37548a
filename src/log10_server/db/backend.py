"""The interface to everything that differs between SQLite and Postgres.

`sqlite.py` and `postgres.py` implement it, so other code does not need to know which database it uses.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, cast

from sqlalchemy import Column, ColumnElement, Connection, Engine, Table
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from log10_server.db.bulk import BulkStatement, Row
from log10_server.db.failures import ConnectionLost, OutcomeUnknown, driver_error_of, lost_connection
from log10_server.db.query_builder import QueryBuilder
from log10_server.errors import Unavailable

# How many threads read besides those of the setting LOG10_SERVER_READERS: two for long reads, two for look-ups, and one
# each for known tokens, unknown tokens, health checks and background jobs.
OTHER_READERS = 8


class Backend(ABC):
    """One database of one kind: its engines, how transactions begin and end, its SQL and its errors."""

    name: ClassVar[str]
    # True for Postgres: it may be unreachable, and it stores data in its own process while this process works on.
    # False for SQLite: its file is always reachable, and this process itself writes to it.
    is_server: ClassVar[bool]
    # Whether one statement returns the rows for all values of a `QueryBuilder.each_value` parameter. If not, the
    # caller runs the statement once for each value.
    fetches_each_at_once: ClassVar[bool]
    # Whether several inserts are buffered and sent as one statement. That saves round trips, which only a server has.
    buffers_inserts: ClassVar[bool]
    query_builder: ClassVar[type[QueryBuilder]]

    url: URL
    read_engine: Engine
    write_engine: Engine

    def __init__(self) -> None:
        self.dialect = self.write_engine.dialect
        loaded: Any = self.dialect.loaded_dbapi
        self.driver_error: type[Exception] = loaded.Error

    @abstractmethod
    def describe(self) -> str:
        """A description of the database for the operator, without its password."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether the SQLite file exists; always true for a server.

        This check does not open the file, because opening it would create it.
        """

    # Transactions

    @abstractmethod
    def begin_read(self, connection: Connection, deadline: float | None) -> None:
        """Begin a read transaction. On SQLite a statement that still runs at `deadline` (a `time.monotonic`) fails."""

    @abstractmethod
    def begin_snapshot(self, connection: Connection) -> None:
        """Let all further statements of this read see the same state of the database. `end_read` ends that."""

    def end_read(self, connection: Connection) -> None:
        """End the read transaction.

        SQLAlchemy does not know about the transaction if all its statements went directly to the driver. In that case
        the driver rolls back.
        """
        if connection.invalidated:
            return
        if connection.in_transaction():
            connection.rollback()
        else:
            self.drive(connection, lambda driver: driver.rollback())

    @abstractmethod
    def begin_write(
        self, connection: Connection, organization_ids: Sequence[str], awaited: str | None = None
    ) -> Iterable[str]:
        """Begin the transaction, and lock those of these organizations that no other transaction has locked.

        If all are locked, or the organization `awaited` is, wait a moment for the lock. Returns the organizations that
        this transaction has locked, which may be none. SQLAlchemy's own transaction has already begun; on SQLite that
        took the write lock.
        """

    @abstractmethod
    def commit(self, connection: Connection) -> None:
        """Commit the transaction. On SQLite this does nothing: SQLAlchemy commits when its own transaction ends."""

    @abstractmethod
    def is_in_transaction(self, connection: Connection) -> bool:
        """Whether the transaction is still open. SQLite may have rolled it back by itself, as on a full disk."""

    @abstractmethod
    def lock_organization(self, connection: Connection, organization_id: str) -> None:
        """Wait until no other transaction writes for this organization, and hold its lock until this one ends."""

    @abstractmethod
    def lock_exclusively(self, connection: Connection, purpose: str) -> None:
        """Wait for the lock that is named `purpose`, and hold it until the transaction ends."""

    @abstractmethod
    def migrating(self) -> AbstractContextManager[Connection]:
        """A transaction for migrations. Only one process at a time can have one."""

    # Statements

    @abstractmethod
    def open_large_result_cursor(self, connection: Connection) -> Any:
        """A cursor of the driver that has only those rows in memory that are fetched from it at a time."""

    @abstractmethod
    def in_list(self, column: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        """A condition: `column` is one of `values`. Its SQL is the same for any number of values."""

    @abstractmethod
    def driver_sql(self, sql: str) -> str:
        """Rewrite SQL that SQLAlchemy has compiled into the form that the driver runs fastest."""

    @abstractmethod
    def insert(self, table: Table, rows: Sequence[Row], on_conflict: str) -> Iterator[BulkStatement]:
        """Statements that insert `rows`, of which there must be at least one."""

    @abstractmethod
    def select(self, table: Table, organization_id: str) -> BulkStatement:
        """A query for all rows of the organization in `table`."""

    @abstractmethod
    def replace(self, table: Table, rows: Sequence[Row]) -> BulkStatement:
        """A statement that replaces the stored rows that have the same organization and id as `rows`."""

    @abstractmethod
    def remove(self, table: Table, rows: Sequence[Row]) -> BulkStatement:
        """A statement that deletes exactly these rows. There must be at least one row, and no value may be null."""

    @abstractmethod
    def combine(self, inserts: Sequence[BulkStatement]) -> BulkStatement:
        """One statement that does what several inserts do."""

    # Errors

    @abstractmethod
    def is_unavailable(self, error: Exception) -> bool:
        """Whether the error means that the database is unreachable, busy or out of space, so a retry may succeed."""

    @abstractmethod
    def violates_key(self, error: Exception) -> bool:
        """Whether a row violates a unique key or a foreign key.

        Another process may have stored the same key, or deleted the row that is referred to, after this transaction has
        looked for it. Then a retry succeeds, because it sees that change. When every retry fails, it is a bug. Other
        constraints depend on the row alone, so a row that violates one is a bug at once.
        """

    @abstractmethod
    def is_conflict(self, error: Exception) -> bool:
        """Whether the database ended the transaction because of a concurrent one, so a retry may succeed."""

    def refusal(self, error: Exception, *, is_committing: bool) -> Unavailable | None:
        """The refusal that a client gets for a database error, or None if the error is a bug in this program."""
        if not self.is_unavailable(error):
            return None
        if lost_connection(error):
            return OutcomeUnknown() if is_committing else ConnectionLost()
        return Unavailable("The database can't be reached or is busy. Try again.")

    def drive(self, connection: Connection, action: Callable[[Any], Any]) -> Any:
        """Call `action` with the driver's own connection. Errors are raised as SQLAlchemy's exceptions."""
        try:
            return action(connection.connection.driver_connection)
        except self.driver_error as error:
            raise self.translate(error, connection) from error

    def translate(self, error: Exception, connection: Connection) -> DBAPIError:
        """The exception that SQLAlchemy would raise for this driver error.

        If the error means that the connection is lost, the connection is also invalidated, as SQLAlchemy would do.
        """
        dialect: Any = self.dialect
        lost = dialect.is_disconnect(error, connection.connection.driver_connection, None)
        if lost:
            connection.invalidate(error)
        translated: Any = DBAPIError.instance(None, None, error, self.driver_error, connection_invalidated=lost)
        return cast(DBAPIError, translated)

    def sqlstate(self, error: Exception) -> str | None:
        """The five-character SQLSTATE code of the error; None if the driver gave none."""
        return getattr(driver_error_of(error), "sqlstate", None)
