"""What differs between SQLite and Postgres, as one interface. `sqlite.py` and `postgres.py` implement it, and no code
outside of these two asks which database it has."""

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


class Backend(ABC):
    """One database of one kind: its engines, how transactions begin and end, its SQL and its errors."""

    name: ClassVar[str]
    # A server may be away, and stores in a process of its own while this one works. A file is always there, and is
    # written by this process.
    is_server: ClassVar[bool]
    # Whether one statement fetches for all values of `QueryBuilder.each_value`, or the caller loops over them.
    fetches_each_at_once: ClassVar[bool]
    # Whether inserts are kept back to go in one statement. It saves round trips, so only to a server.
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
        """Which database this is, for an operator; without a password."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether SQLite's file is there, which SQLite would create as soon as it is opened; a server always is."""

    # Transactions

    @abstractmethod
    def begin_read(self, connection: Connection, deadline: float | None) -> None:
        """Begin to read. After `deadline` (of `time.monotonic`) a statement of SQLite ends with an error."""

    def end_read(self, connection: Connection) -> None:
        """End what was read. SQLAlchemy knows of a transaction only when a statement was run through it."""
        if connection.invalidated:
            return
        if connection.in_transaction():
            connection.rollback()
        else:
            self.drive(connection, lambda driver: driver.rollback())

    @abstractmethod
    def begin_write(self, connection: Connection, organization_ids: Sequence[str]) -> Iterable[str]:
        """Begin the transaction, and lock as many of these organizations as nobody else has locked; returns those.

        SQLAlchemy's transaction has been begun: on SQLite that has taken the write lock.
        """

    @abstractmethod
    def commit(self, connection: Connection) -> None:
        """Commit what SQLAlchemy does not commit by itself when its transaction ends."""

    @abstractmethod
    def is_in_transaction(self, connection: Connection) -> bool:
        """Whether what was written is still to be committed: SQLite may have rolled it back when a disk is full."""

    @abstractmethod
    def lock_organization(self, connection: Connection, organization_id: str) -> None:
        """Wait until no other transaction writes for this organization, and keep others out until the end."""

    @abstractmethod
    def lock_exclusively(self, connection: Connection, purpose: str) -> None:
        """Wait until no other process holds the lock of this name, and keep others out until the end."""

    @abstractmethod
    def migrating(self) -> AbstractContextManager[Connection]:
        """A transaction for migrations, which no other program's migration shares."""

    # Statements

    @abstractmethod
    def in_list(self, column: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        """Whether `column` is one of `values`: the same SQL for any number of them."""

    @abstractmethod
    def driver_sql(self, sql: str) -> str:
        """SQL that SQLAlchemy has compiled, as the driver runs it fastest."""

    @abstractmethod
    def insert(self, table: Table, rows: Sequence[Row], on_conflict: str) -> Iterator[BulkStatement]:
        """Statements that insert `rows` (one at least)."""

    @abstractmethod
    def replace(self, table: Table, rows: Sequence[Row]) -> BulkStatement:
        """A statement that puts `rows` in the place of those with the same organization and id."""

    @abstractmethod
    def remove(self, table: Table, rows: Sequence[Row]) -> BulkStatement:
        """A statement that deletes exactly these rows. There must be at least one row, and no value may be null."""

    @abstractmethod
    def combine(self, inserts: Sequence[BulkStatement]) -> BulkStatement:
        """One statement that does what several inserts do."""

    # Errors

    @abstractmethod
    def is_unavailable(self, error: Exception) -> bool:
        """Whether an error says that the database is away, busy or out of room, so that a later try may succeed."""

    @abstractmethod
    def is_conflict(self, error: Exception) -> bool:
        """Whether another transaction was in the way, so that the same work may succeed when it is done again."""

    def refusal(self, error: Exception, *, is_committing: bool) -> Unavailable | None:
        """The refusal that a caller gets for an error of the database; None when the error is a defect of this program."""
        if not self.is_unavailable(error):
            return None
        if lost_connection(error):
            return OutcomeUnknown() if is_committing else ConnectionLost()
        return Unavailable("The database can't be reached or is busy. Try again.")

    def drive(self, connection: Connection, action: Callable[[Any], Any]) -> Any:
        """Let the driver's own connection do something. Raises as SQLAlchemy does."""
        try:
            return action(connection.connection.driver_connection)
        except self.driver_error as error:
            raise self.translate(error, connection) from error

    def translate(self, error: Exception, connection: Connection) -> DBAPIError:
        """The exception that SQLAlchemy would raise for an error of the driver.

        A lost connection is removed from the pool, as SQLAlchemy itself would do.
        """
        dialect: Any = self.dialect
        lost = dialect.is_disconnect(error, connection.connection.driver_connection, None)
        if lost:
            connection.invalidate(error)
        translated: Any = DBAPIError.instance(None, None, error, self.driver_error, connection_invalidated=lost)
        return cast(DBAPIError, translated)

    def sqlstate(self, error: Exception) -> str | None:
        """The code of five characters that the SQL standard gives errors; None where the driver gave none."""
        return getattr(driver_error_of(error), "sqlstate", None)
