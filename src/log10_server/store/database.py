"""The database, and a transaction of one organization in it; the only place that asks which database this is.

SQLite: one file in WAL mode, `synchronous=FULL`, foreign keys on; a write takes the write lock when it begins.
Postgres (14 or newer): READ COMMITTED, one writer at a time for each organization, by psycopg 3.
"""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Delete,
    Double,
    Engine,
    Integer,
    Select,
    Table,
    Text,
    Update,
    any_,
    bindparam,
    delete,
    func,
    not_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from log10_server.clock import Clock
from log10_server.errors import Refusal, Unavailable
from log10_server.store import engines
from log10_server.store.engines import database_url as database_url
from log10_server.store.statements import Statement

if TYPE_CHECKING:  # the driver is loaded where it is used
    import psycopg

T = TypeVar("T")


class Common(NamedTuple):
    """When a tag counts as common, and how that is found out (`store/tagged`). Tests lower these."""

    above: int = 1000  # completions that have it
    one_in: int = 64  # of how many completions one is looked at
    crowd: int = 24  # tags of one completion, beyond which their pairs are not kept


_STEPS_BETWEEN_LOOKS = 100_000  # of SQLite's machine; some milliseconds


class Database:
    """One database, SQLite or Postgres, for all organizations. Opening it opens no connection yet."""

    def __init__(self, url: str, readers: int = 4) -> None:
        """Raises SettingsError for a URL of another kind."""
        self.url = database_url(url)
        self.is_postgres = self.url.get_backend_name() == "postgresql"
        self.clock = Clock()
        # Readers and writers keep connections of their own: they differ in what each is told when it opens.
        if self.is_postgres:
            self.engine, self._reads = (
                engines.postgres(self.url, 2),
                engines.postgres(self.url, readers + 2, "AUTOCOMMIT"),
            )
            self._writes = self.engine.execution_options(log10_writes=True)
        else:
            self.engine = self._reads = engines.sqlite(self.url, readers + 2)
            self._writes = engines.sqlite(self.url, 2).execution_options(log10_writes=True)
        self.common = Common()
        self.filled_at_once = 1000  # completions that are looked at when a task is filled (`store/ungraded`)
        self._idle_readers: list[Connection] = []
        self._idle_writers: list[Connection] = []
        self._inserted: dict[str, int] = {}
        self._times_grown = 0
        self.driver_error: Any = self.engine.dialect.loaded_dbapi.Error

    @contextmanager
    def reading(self, give_up: float | None = None) -> Iterator[Connection]:
        """A connection to read with.

        After `give_up` (of `time.monotonic`) SQLite ends its statement, and `Tx.check_time` raises; Postgres has its
        own time-out. Raises Unavailable then, and while the database can't be reached.
        """
        try:
            with self._lent(self._reads, self._idle_readers) as connection:
                connection.info["log10_give_up"] = give_up
                driver: Any = connection.connection.driver_connection
                if self.is_postgres:
                    self._plan_anew(connection)
                else:
                    driver.execute("BEGIN")  # all that is read is of one moment
                    if give_up is not None:
                        driver.set_progress_handler(lambda: int(time.monotonic() > give_up), _STEPS_BETWEEN_LOOKS)
                try:
                    yield connection
                finally:
                    if not self.is_postgres:
                        driver.set_progress_handler(None, 0)
                    if not connection.invalidated:
                        self._end(connection)
        except (DBAPIError, sqlite3.OperationalError) as error:
            raise refused(error) from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a transaction that is committed at the end, or rolled back when an exception passes.

        Raises Unavailable when the database can't be reached or the commit did not succeed.
        """
        try:
            with self._lent(self._writes, self._idle_writers) as connection:
                if self.is_postgres:
                    self._plan_anew(connection)
                with connection.begin():
                    yield connection
        except (DBAPIError, sqlite3.OperationalError) as error:
            raise refused(error) from error

    @contextmanager
    def _lent(self, engine: Engine, idle: list[Connection]) -> Iterator[Connection]:
        """A connection that was used before and is well, if there is any: a pool would look after it each time, for
        longer than a short transaction takes."""
        try:
            connection = idle.pop()
        except IndexError:  # another thread may have taken the last
            connection = engine.connect()
        try:
            yield connection
        except Refusal:
            idle.append(connection)
            raise
        except BaseException:
            if connection.invalidated:  # the others are as old
                self._close_idle()
            connection.close()
            raise
        idle.append(connection)

    def _close_idle(self) -> None:
        for idle in (self._idle_readers, self._idle_writers):
            with suppress(IndexError):
                while True:
                    connection = idle.pop()
                    connection.invalidate()  # else its pool would lend it again
                    connection.close()

    def _plan_anew(self, connection: Connection) -> None:
        """Let go of plans that were made when the tables were much smaller.

        A connection keeps the plans of its statements, and of the checks of foreign keys. Those made for a table that
        was as good as empty read all of it, for as long as it takes Postgres to count again: a minute in which a busy
        program stores a hundred thousand rows.
        """
        if connection.info.get("log10_grown") != self._times_grown:
            self._by_driver(connection, lambda driver: driver.execute("DISCARD PLANS"))
            connection.info["log10_grown"] = self._times_grown

    def grew(self, table: Table, rows: int) -> None:
        """So many rows were inserted; whenever those of a table have become four times as many, plans are made anew."""
        inserted = self._inserted.get(table.name, 0)
        self._inserted[table.name] = inserted + rows
        if (inserted + rows).bit_length() // 2 > max(inserted.bit_length() // 2, 2):
            self._times_grown += 1

    def _end(self, connection: Connection) -> None:
        """End what was read. SQLAlchemy knows of the transaction when a statement went by its way."""
        if connection.in_transaction():
            connection.rollback()
        else:
            self._by_driver(connection, lambda driver: driver.rollback())

    def _by_driver(self, connection: Connection, do: Callable[[Any], object]) -> None:
        """Let the driver's connection do something. Raises as SQLAlchemy does."""
        try:
            do(connection.connection.driver_connection)
        except self.driver_error as error:
            raise self.raised(error, connection) from error

    def is_in_transaction(self, connection: Connection) -> bool:
        """Whether what was written on it is still to be committed; on Postgres a commit tells."""
        driver = connection.connection.driver_connection
        return not isinstance(driver, sqlite3.Connection) or driver.in_transaction

    def raised(self, error: Any, connection: Connection) -> DBAPIError:
        """What SQLAlchemy would raise for an error of the driver; as there, a lost connection is dropped."""
        lost = self.engine.dialect.is_disconnect(error, connection.connection.driver_connection, None)
        if lost:
            connection.invalidate(error)
        raised: Any = DBAPIError.instance(None, None, error, self.driver_error, connection_invalidated=lost)
        return cast(DBAPIError, raised)

    def exclusively(self, connection: Connection, what: str) -> None:
        """Until the transaction ends, no other process does `what`. SQLite has one writer at a time anyway."""
        if self.is_postgres:
            connection.execute(_EXCLUSIVELY, {"what": f"log10-server: {what}"})

    def described(self) -> str:
        """Which database this is, for an operator; no password."""
        if self.is_postgres:
            return f"Postgres: {self.url.database} on {self.url.host or 'a local socket'}"
        return f"SQLite: {os.path.abspath(str(self.url.database))}"

    def tx(self, connection: Connection, organization_id: str) -> "Tx":
        """The transaction on `connection` as that organization sees it.

        On a writing connection it has the organization to itself until its end, as on SQLite it has the file: what
        it looked up stays so, no two transactions lock rows in different orders, and a new task and a completion
        that are written at the same moment can't miss each other. Different organizations write at the same time.
        """
        tx = Tx(self, connection, organization_id)
        if self.is_postgres and connection.get_execution_options().get("log10_writes"):
            tx.run(_ALONE)
        return tx

    def tx_if_free(self, connection: Connection, organization_id: str) -> "Tx | None":
        """As `tx`, or None when another transaction has the organization to itself just now."""
        tx = Tx(self, connection, organization_id)
        if self.is_postgres and not tx.fetch(_ALONE_IF_FREE)[0][0]:
            return None
        return tx

    def read(self, work: Callable[[Connection], T], give_up: float | None = None) -> T:
        """What `work` gives on a connection to read with; again on a new one when the first turns out to be lost.

        Raises Unavailable, after `give_up` (of `time.monotonic`) too.
        """
        try:
            with self.reading(give_up) as connection:
                return work(connection)
        except Unavailable as refusal:
            if not was_lost(refusal):
                raise
        with self.reading(give_up) as connection:
            return work(connection)

    def close(self) -> None:
        self._close_idle()
        for engine in (self.engine, self._reads, self._writes):
            engine.dispose()


class Tx:
    """A transaction as one organization sees it: every statement begins from rows that are its own."""

    __slots__ = ("_driver", "_is_together", "connection", "database", "organization_id")

    def __init__(self, database: Database, connection: Connection, organization_id: str) -> None:
        self.database = database
        self.connection = connection
        self.organization_id = organization_id
        self._driver: Any = None
        self._is_together = False

    def now(self) -> int:
        """An instant that no other call of this process gets."""
        return self.database.clock.now()

    def check_time(self) -> None:
        """Raises Unavailable when the caller has given up: for work that goes on outside of statements."""
        give_up = self.connection.info.get("log10_give_up")
        if give_up is not None and time.monotonic() > give_up:
            raise Unavailable("Reading took too long.", code="no_answer")

    def rows(self, table: Table, *columns: str) -> Select[Any]:
        """The organization's rows of `table`: all columns in their order, or those named."""
        wanted = [table.c[name] for name in columns] if columns else [table]
        return select(*wanted).where(table.c.organization_id == self.organization_id)

    def delete(self, table: Table) -> Delete:
        return delete(table).where(table.c.organization_id == self.organization_id)

    def update(self, table: Table) -> Update:
        return update(table).where(table.c.organization_id == self.organization_id)

    def among(self, column: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        """Whether `column` is one of `values`: one statement for any number of them."""
        if self.database.is_postgres:
            kind = BigInteger() if isinstance(column.type, BigInteger) else Text()
            return column == any_(bindparam(None, list(values), type_=ARRAY(kind)))
        listed = func.json_each(bindparam(None, json.dumps(list(values), ensure_ascii=False)))
        return column.in_(select(text("value")).select_from(listed))

    def not_among(self, column: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        return not_(self.among(column, values))

    def fetch(self, statement: Statement, **values: Any) -> list[Any]:
        """What `statement` finds, as the driver's tuples; a parameter that is one of several values is a list."""
        found: list[Any] = self._run(statement, values).fetchall()
        return found

    def fetch_each(self, statement: Statement, name: str, each: Sequence[Any], **values: Any) -> list[Any]:
        """What `statement` finds for each value of the parameter `name` (`Asked.each`)."""
        if self.database.is_postgres:
            return self.fetch(statement, **values, **{name: list(each)}) if each else []
        return [row for one in each for row in self.fetch(statement, **values, **{name: one})]

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written inside is sent to Postgres without waiting for each answer; what is read still waits.

        What can't be stored is raised with the next answer, at the end at the latest. Statements go by way of this Tx.
        """
        if not self.database.is_postgres:
            yield
            return
        self._is_together = True
        try:
            with cast("psycopg.Connection", self.connection.connection.driver_connection).pipeline():
                yield
        except self.database.driver_error as error:
            raise self.database.raised(error, self.connection) from error
        finally:
            self._is_together = False

    def run(self, statement: Statement, **values: Any) -> None:
        """Do what `statement` says."""
        self._run(statement, values)

    def _run(self, statement: Statement, values: dict[str, Any]) -> Any:
        sql, names, constants = statement.written(self.database.engine.dialect)
        said = {**constants, **values, "organization_id": self.organization_id}
        if not self.database.is_postgres:
            ordered = [said[name] for name in names]
            return self._by_driver(
                "execute", sql, [_json(value) if type(value) is list else value for value in ordered]
            )
        return self._by_driver("execute", sql, said)

    def _by_driver(self, method: str, sql: str, values: Any) -> Any:
        """Run `sql` by the driver. Raises as SQLAlchemy does, and drops a connection that is lost as it does."""
        if self._driver is None or self._is_together:
            self._driver = self.connection.connection.cursor()
        try:
            getattr(self._driver, method)(sql, values)
        except self.database.driver_error as error:
            raise self.database.raised(error, self.connection) from error
        return self._driver

    def insert_many(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert `rows`, values in the order of the columns.

        One statement with arrays on Postgres, `executemany` on SQLite, of several rows each time; SQLAlchemy takes
        several times as long.
        """
        self._insert(table, rows, "")

    def insert_missing(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """As `insert_many`, without the rows whose key is taken."""
        self._insert(table, rows, " ON CONFLICT DO NOTHING")

    def replace_many(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Store `rows` in the place of those that have their keys, the organization and an id."""
        if not rows:
            return
        self._by_driver(
            "executemany", _replaced(table, self.database.is_postgres), [(*row[2:], *row[:2]) for row in rows]
        )

    def remove_many(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Delete these whole rows, values in the order of the columns and none of them null."""
        if not rows:
            return
        if self.database.is_postgres:
            arrays = [list(values) for values in zip(*rows, strict=True)]
            self._by_driver("execute", _removed_unnest(table), arrays)
        else:
            self._by_driver("executemany", _removed(table), rows)

    def _insert(self, table: Table, rows: Sequence[tuple[Any, ...]], on_conflict: str) -> None:
        if not rows:
            return
        if self.database.is_postgres:
            self.database.grew(table, len(rows))
            if len(rows) == 1:  # without arrays, which psycopg is slow to build
                self._by_driver("execute", _values(table, "%s") + on_conflict, rows[0])
                return
            arrays = [
                _array(column, values) for column, values in zip(table.columns, zip(*rows, strict=True), strict=True)
            ]
            self._by_driver("execute", _unnest(table) + on_conflict, arrays)
            return
        at_once = _PARAMETERS // len(table.columns)
        whole = len(rows) - len(rows) % at_once
        if whole:
            several = (tuple(chain.from_iterable(rows[at : at + at_once])) for at in range(0, whole, at_once))
            self._by_driver("executemany", _values(table, "?", at_once) + on_conflict, several)
        if whole < len(rows):
            self._by_driver("executemany", _values(table, "?") + on_conflict, rows[whole:])


def refused(error: Exception) -> Exception:
    """What a database's error means to a caller; the error itself where it is a defect of ours."""
    raised = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(raised, sqlite3.Error):
        away = getattr(raised, "sqlite_errorcode", 0) & 0xFF in _SQLITE_AWAY
    else:
        # Class 57: stopped or cancelled, 53: out of disk or memory, 08: connection, 55P03: waited for a lock too long.
        state = getattr(raised, "sqlstate", None) or "08000"
        away = isinstance(error, OperationalError | InterfaceError) and state[:2] in {
            "57",
            "53",
            "08",
            "55",
            "25",
            "58",
        }
    return Unavailable("The database can't be reached or is busy. Try again.") if away else error


def was_lost(refusal: Refusal) -> bool:
    """Whether an open connection was lost on the way: on a new one the same work may succeed."""
    return bool(getattr(refusal.__cause__, "connection_invalidated", False))


def is_clash(error: Exception) -> bool:
    """Whether another transaction was in the way, so that doing the same work again may succeed."""
    raised = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(raised, "sqlstate", None)
    return isinstance(raised, sqlite3.IntegrityError) or state in {"23503", "23505", "40001", "40P01"}


_SQLITE_AWAY = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT,
}  # fmt: skip

_EXCLUSIVELY = text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 10))")
_ALONE_IF_FREE = Statement(
    lambda _: text("SELECT pg_try_advisory_xact_lock(hashtextextended(CAST(:organization_id AS text), 10))")
)
_ALONE = Statement(lambda _: text("SELECT pg_advisory_xact_lock(hashtextextended(CAST(:organization_id AS text), 10))"))


def _array(column: Column[Any], values: Sequence[Any]) -> list[Any]:
    """psycopg takes no list that mixes whole numbers with others."""
    if isinstance(column.type, Double):
        return [None if value is None else float(value) for value in values]
    return list(values)


@cache
def _replaced(table: Table, is_postgres: bool) -> str:
    mark = "%s" if is_postgres else "?"
    key, id, *rest = (column.name for column in table.columns)
    values = ", ".join(f"{name} = {mark}" for name in rest)
    return f"UPDATE {table.name} SET {values} WHERE {key} = {mark} AND {id} = {mark}"


_ARRAYS: dict[type, str] = {BigInteger: "bigint[]", Integer: "integer[]", Boolean: "boolean[]", Double: "float8[]"}


_json = json.JSONEncoder(ensure_ascii=False).encode


# Parameters of one statement on SQLite, which may have 999 in any version. To begin and end it for each row costs a
# third of the row; with more than these nothing more is saved.
_PARAMETERS = 250


@cache
def _values(table: Table, mark: str, rows: int = 1) -> str:
    names = ", ".join(column.name for column in table.columns)
    values = f"({', '.join([mark] * len(table.columns))})"
    return f"INSERT INTO {table.name} ({names}) VALUES {', '.join([values] * rows)}"


@cache
def _unnest(table: Table) -> str:
    names = ", ".join(column.name for column in table.columns)
    return f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({_arrays(table)})"


@cache
def _removed(table: Table) -> str:
    return f"DELETE FROM {table.name} WHERE {' AND '.join(f'{column.name} = ?' for column in table.columns)}"


@cache
def _removed_unnest(table: Table) -> str:
    names = ", ".join(column.name for column in table.columns)
    same = " AND ".join(f"{table.name}.{column.name} = gone.{column.name}" for column in table.columns)
    return f"DELETE FROM {table.name} USING unnest({_arrays(table)}) AS gone ({names}) WHERE {same}"


def _arrays(table: Table) -> str:
    return ", ".join(f"%b::{_ARRAYS.get(type(column.type), 'text[]')}" for column in table.columns)
