"""The backend for SQLite: one file in WAL mode, with `synchronous=FULL` and foreign keys on.

A write transaction takes the write lock when it begins.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    Select,
    Table,
    Text,
    bindparam,
    case,
    create_engine,
    event,
    func,
    literal_column,
    select,
    text,
    tuple_,
)
from sqlalchemy import cast as cast_to
from sqlalchemy.engine import URL
from sqlalchemy.sql import ClauseElement
from sqlalchemy.types import TypeEngine

from log10_server.db import bulk, retries
from log10_server.db.backend import OTHER_READERS, Backend
from log10_server.db.bulk import BulkStatement, Row
from log10_server.db.failures import WrongSchema, driver_error_of
from log10_server.db.query_builder import QueryBuilder

_LOCK_TIMEOUT = 8.0  # seconds that a statement waits for another process's lock on the same file
_STEPS_BETWEEN_CHECKS = 100_000  # SQLite VM instructions between two checks of the deadline; some milliseconds
_PLACEHOLDER = "?"
# The most parameters of one INSERT; every version of SQLite allows 999. One statement for several rows saves a third of
# the cost of each row, and more than 250 parameters save nothing further.
_INSERT_PARAMETERS = 250


class SqliteQueryBuilder(QueryBuilder):
    """Passes a list as JSON text, which `json_each` turns into rows."""

    begins_joins_at_keys = False
    reads_rows_on_demand = True

    def in_list(self, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        self.json_lists.add(name)
        return _in_json(column, bindparam(name, type_=Text()))

    def rows_by_key(self, rows: Select[Any], column: ColumnElement[Any], name: str) -> Select[Any]:
        return rows.where(self.in_list(column, name))

    def rows_in_order(self, table: Table, payloads: Sequence[str], ids: str, max_bytes: str) -> Select[Any]:
        """SQLite reads each row only when it is fetched, so the caller ends the rows."""
        self.json_lists.add(ids)
        values = func.json_each(bindparam(ids, type_=Text())).table_valued("value", name="listed")
        size: ColumnElement[int] = literal_column("0", BigInteger())
        for name in payloads:
            # The length of a BLOB is its number of bytes. The characters of a text would be counted one by one.
            size += func.coalesce(func.length(cast_to(table.c[name], LargeBinary())), 0)
        fits = size <= bindparam(max_bytes, type_=BigInteger())
        columns = [case((fits, column)) if column.name in payloads else column for column in table.columns]
        # SQLite reads the left side of an outer join first, and so keeps its order.
        is_row = self.is_owned(table) & (table.c.id == values.c.value)
        return select(*columns, case((table.c.id.is_not(None), size))).select_from(values.outerjoin(table, is_row))

    def rows_by_keys(self, rows: Select[Any], columns: Sequence[ColumnElement[Any]], name: str) -> Select[Any]:
        self.json_lists.add(name)
        keys = func.json_each(bindparam(name, type_=Text())).table_valued("value", name=f"values_of_{name}")
        parts = (func.json_extract(keys.c.value, literal_column(f"'$[{part}]'")) for part in range(len(columns)))
        return rows.where(tuple_(*columns).in_(select(*parts)))

    def each_value(self, name: str, kind: TypeEngine[Any]) -> ColumnElement[Any]:
        return bindparam(name, type_=kind)

    def size(self, column: ColumnElement[Any]) -> ColumnElement[int]:
        return func.coalesce(func.length(column), literal_column("0"))  # `octet_length` is new in SQLite 3.43

    def position_in(self, text: ColumnElement[str], part: ColumnElement[str]) -> ColumnElement[int]:
        return func.instr(text, part, type_=Integer())

    def finish(self, statement: ClauseElement) -> ClauseElement:
        return statement


class Sqlite(Backend):
    """A SQLite file. There is no round trip to save, so statements run one by one and nothing is buffered."""

    name = "sqlite"
    is_server = False
    fetches_each_at_once = False
    buffers_inserts = False
    query_builder = SqliteQueryBuilder

    def __init__(self, url: URL, readers: int) -> None:
        """Create the engines. No connection is opened yet."""
        self.url = url
        self.read_engine = _engine(url, readers + OTHER_READERS)
        self.write_engine = _engine(url, 2).execution_options(log10_writes=True)
        super().__init__()

    def describe(self) -> str:
        return f"SQLite: {os.path.abspath(str(self.url.database))}"

    def exists(self) -> bool:
        return Path(str(self.url.database)).exists()

    # Transactions

    def begin_read(self, connection: Connection, deadline: float | None) -> None:
        driver = _driver(connection)
        driver.execute("BEGIN")  # in a transaction, all statements read the same state of the database
        if deadline is not None:
            driver.set_progress_handler(lambda: int(time.monotonic() > deadline), _STEPS_BETWEEN_CHECKS)

    def begin_snapshot(self, connection: Connection) -> None:
        pass  # `begin_read` has already begun a transaction

    def end_read(self, connection: Connection) -> None:
        _driver(connection).set_progress_handler(None, 0)
        super().end_read(connection)

    def begin_write(
        self, _connection: Connection, organization_ids: Sequence[str], _awaited: str | None = None
    ) -> Iterable[str]:
        return organization_ids  # the write lock covers all organizations

    def commit(self, connection: Connection) -> None:
        pass  # SQLAlchemy commits when its own transaction ends

    def is_in_transaction(self, connection: Connection) -> bool:
        return _driver(connection).in_transaction

    def lock_organization(self, connection: Connection, organization_id: str) -> None:
        pass  # the transaction already holds the write lock

    def lock_exclusively(self, connection: Connection, purpose: str) -> None:
        pass  # the transaction already holds the write lock

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        _create_file(Path(str(self.url.database)))
        with self.write_engine.connect() as connection:
            driver = _driver(connection)
            driver.execute("PRAGMA journal_mode=WAL")
            driver.execute("PRAGMA foreign_keys=OFF")  # because an Alembic batch migration drops and renames tables
            changes = driver.total_changes
            try:
                with connection.begin():
                    yield connection
                    # The check reads the whole database, so a start with nothing to migrate must not make it. Every
                    # migration changes at least the row with the revision.
                    has_migrated = driver.total_changes > changes
                    broken = driver.execute("PRAGMA foreign_key_check").fetchall() if has_migrated else []
                    if broken:
                        raise WrongSchema(f"The migration would break {len(broken)} references; nothing was changed.")
            finally:
                driver.execute("PRAGMA foreign_keys=ON")

    # Statements

    def open_large_result_cursor(self, connection: Connection) -> Any:
        """Every cursor of SQLite reads a row when it is fetched."""
        return connection.connection.cursor()

    def in_list(self, column: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        return _in_json(column, bindparam(None, json.dumps(list(values), ensure_ascii=False)))

    def driver_sql(self, sql: str) -> str:
        return sql

    def insert(self, table: Table, rows: Sequence[Row], on_conflict: str) -> Iterator[BulkStatement]:
        rows_at_once = _INSERT_PARAMETERS // len(table.columns)
        whole = len(rows) - len(rows) % rows_at_once
        if whole:
            parameters = (
                tuple(chain.from_iterable(rows[start : start + rows_at_once]))
                for start in range(0, whole, rows_at_once)
            )
            yield BulkStatement(bulk.insert_values(table, _PLACEHOLDER, rows_at_once) + on_conflict, parameters, True)
        if whole < len(rows):
            yield BulkStatement(bulk.insert_values(table, _PLACEHOLDER) + on_conflict, rows[whole:], True)

    def select(self, table: Table, organization_id: str) -> BulkStatement:
        return BulkStatement(bulk.select_rows(table, _PLACEHOLDER), [organization_id])

    def replace(self, table: Table, rows: Sequence[Row]) -> BulkStatement:
        return bulk.replace_rows(table, rows, _PLACEHOLDER)

    def remove(self, table: Table, rows: Sequence[Row]) -> BulkStatement:
        return BulkStatement(_delete_row(table), rows, True)

    def combine(self, inserts: Sequence[BulkStatement]) -> BulkStatement:
        raise NotImplementedError("SQLite buffers no inserts, so there is nothing to combine.")

    # Errors

    def is_unavailable(self, error: Exception) -> bool:
        return getattr(driver_error_of(error), "sqlite_errorcode", 0) & 0xFF in _UNAVAILABLE

    def violates_key(self, error: Exception) -> bool:
        return getattr(driver_error_of(error), "sqlite_errorcode", None) in _VIOLATED_KEYS

    def is_conflict(self, _error: Exception) -> bool:
        return False  # a write transaction has the write lock from its beginning, so no other one runs beside it


_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT,
}  # fmt: skip
_VIOLATED_KEYS = {
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE,
}  # fmt: skip


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast(sqlite3.Connection, connection.connection.driver_connection)


def _engine(url: URL, connections: int) -> Engine:
    engine = create_engine(
        url,
        connect_args={"check_same_thread": False, "isolation_level": None, "timeout": _LOCK_TIMEOUT},
        pool_size=connections,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # With FULL, a commit in WAL mode is on disk before it returns. With NORMAL, a power failure may lose it.
        for pragma in ("foreign_keys=ON", "synchronous=FULL", "temp_store=MEMORY", "cache_size=-16000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver = _driver(connection)
        if driver.in_transaction:
            return
        if connection.get_execution_options().get("log10_writes"):
            _begin_immediate(driver)
        else:
            driver.execute("BEGIN")

    return engine


def _begin_immediate(driver: sqlite3.Connection) -> None:
    """Begin a transaction that takes the write lock first.

    A deferred transaction that reads and then writes would fail at once if another transaction wrote in between, and no
    timeout would help.
    """
    driver.execute("PRAGMA busy_timeout=0")
    try:
        retries.SQLITE_WRITE_LOCK.run(lambda: driver.execute("BEGIN IMMEDIATE"), _is_busy)
    finally:
        driver.execute(f"PRAGMA busy_timeout={int(_LOCK_TIMEOUT * 1000)}")


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _create_file(path: Path) -> None:
    """Create the file if it does not exist. Only its owner may read it, because it will hold prompts and answers."""
    try:
        if path.is_dir():
            raise WrongSchema(f"The database file {path} is a folder.")
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass  # another process has just created it
    except OSError as error:
        raise WrongSchema(f"The database file {path.resolve()} can't be created: {error.strerror}.") from None


def _in_json(column: ColumnElement[Any], parameter: BindParameter[Any]) -> ColumnElement[bool]:
    return column.in_(select(text("value")).select_from(func.json_each(parameter)))


@cache
def _delete_row(table: Table) -> str:
    return (
        f"DELETE FROM {table.name} WHERE {' AND '.join(f'{column.name} = {_PLACEHOLDER}' for column in table.columns)}"
    )
