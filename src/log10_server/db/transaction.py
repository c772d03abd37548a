"""The class `Tx`: a transaction in which every statement is limited to the rows of one organization."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Delete, Select, Table, Update, delete, not_, select, update

from log10_server.clock import Clock
from log10_server.db import bulk
from log10_server.db.backend import Backend
from log10_server.db.bulk import BulkStatement, Row
from log10_server.db.statements import Statement
from log10_server.db.thresholds import Thresholds
from log10_server.errors import Unavailable


class Tx:
    """A transaction on the rows of one organization.

    There are three ways to run SQL. Short, frequent statements are a `Statement` and run directly on the driver
    (`fetch`, `run`). Whole rows are inserted, replaced and removed in bulk. Everything else is built with SQLAlchemy
    and runs on `connection`.
    """

    __slots__ = ("_buffer", "_cursor", "backend", "clock", "connection", "organization_id", "thresholds")

    def __init__(
        self, backend: Backend, clock: Clock, thresholds: Thresholds, connection: Connection, organization_id: str
    ) -> None:
        self.backend = backend
        self.clock = clock
        self.thresholds = thresholds
        self.connection = connection
        self.organization_id = organization_id
        self._cursor: Any = None
        self._buffer: list[BulkStatement] | None = None

    def now(self) -> int:
        """An instant that no other call of this process gets, unless the system clock steps back by over a second."""
        return self.clock.now()

    def new_key(self, after: int = 0) -> int:
        """A number greater than `after` that no other call of this process ever gets."""
        return self.clock.new_key(after)

    def check_deadline(self) -> None:
        """Raise Unavailable after the deadline of the read. Long work calls this in between its statements."""
        deadline = self.connection.info.get("log10_deadline")
        if deadline is not None and time.monotonic() > deadline:
            raise Unavailable("Reading took too long.", code="no_answer")

    def begin_snapshot(self) -> None:
        """Let all further statements of this read see the same state of the database. A second call changes nothing.

        A write needs none: it holds the lock of its organization, so only its own statements change anything.
        """
        if not self.connection.get_execution_options().get("log10_writes"):
            self.backend.begin_snapshot(self.connection)

    # Statements that are built with SQLAlchemy

    def rows(self, table: Table, *columns: str) -> Select[Any]:
        """Select the organization's rows of `table`: the named columns, or all columns in their order."""
        selected = [table.c[name] for name in columns] if columns else [table]
        return select(*selected).where(table.c.organization_id == self.organization_id)

    def delete(self, table: Table) -> Delete:
        """A statement that deletes rows of `table` of the organization.

        The caller adds the condition that selects them.
        """
        return delete(table).where(table.c.organization_id == self.organization_id)

    def update(self, table: Table) -> Update:
        """A statement that updates rows of `table` of the organization.

        The caller adds the condition and the values.
        """
        return update(table).where(table.c.organization_id == self.organization_id)

    def in_list(self, column: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        """A condition: `column` is one of `values`. Its SQL is the same for any number of values."""
        return self.backend.in_list(column, values)

    def not_in_list(self, column: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        """A condition: `column` is not one of `values`."""
        return not_(self.in_list(column, values))

    # Statements that are built once

    def fetch(self, statement: Statement, **values: Any) -> list[Any]:
        """Run `statement` and return its rows as plain tuples. The parameter of an `in_list` is passed as a list."""
        rows: list[Any] = self._run(statement, values).fetchall()
        return rows

    def iterate(self, statement: Statement, **values: Any) -> Iterator[Any]:
        """Run `statement` and yield its rows as plain tuples.

        SQLite reads each row when it is taken; Postgres reads all of them first.
        """
        with closing(self.connection.connection.cursor()) as cursor:
            yield from self._run(statement, values, cursor)

    def iterate_in_chunks(self, statement: Statement, rows_at_once: int, **values: Any) -> Iterator[Any]:
        """Run `statement` and yield its rows as plain tuples. At most `rows_at_once` rows are in memory at a time.

        On Postgres this takes a round trip for each chunk, and a transaction that has begun (`begin_snapshot`).
        """
        with closing(self.backend.open_large_result_cursor(self.connection)) as cursor:
            self._run(statement, values, cursor)
            while rows := self._fetch_chunk(cursor, rows_at_once):
                yield from rows
                self.check_deadline()

    def fetch_each(self, statement: Statement, name: str, each: Sequence[Any], **values: Any) -> list[Any]:
        """Return the rows of `statement` for all values in `each`, which are passed as its parameter `name`.

        The statement must declare that parameter with `QueryBuilder.each_value`.
        """
        if not self.backend.fetches_each_at_once:
            return [row for value in each for row in self.fetch(statement, **values, **{name: value})]
        return self.fetch(statement, **values, **{name: list(each)}) if each else []

    def run(self, statement: Statement, **values: Any) -> None:
        """Run a statement that returns no rows."""
        self._run(statement, values)

    # Whole rows

    def insert_many(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert `rows`, whose values are in the order of the columns."""
        self._insert(table, rows, "")

    def insert_missing(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert `rows`, except those whose key already exists in the table."""
        self._insert(table, rows, bulk.SKIP_TAKEN_KEYS)

    def add_numbers(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert `rows`, or, where the key of a row exists in the table, add its last value to the stored value.

        No two rows may have the same key.
        """
        self._insert(table, rows, bulk.add_to_last_column(table))

    def overwrite_many(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert `rows`, and replace those stored rows that have the same primary key. No two rows may share a key."""
        self._insert(table, rows, bulk.overwrite_taken_keys(table))

    def replace_many(self, table: Table, rows: Sequence[Row]) -> None:
        """Replace the stored rows that have the same organization and id as `rows`."""
        if rows:
            self._execute(self.backend.replace(table, rows))

    def remove_many(self, table: Table, rows: Sequence[Row]) -> None:
        """Delete these rows. All their values must be given, in the order of the columns, and none may be null."""
        if rows:
            self._execute(self.backend.remove(table, rows))

    @contextmanager
    def buffered_inserts(self) -> Iterator[None]:
        """Within this block, inserts are collected and sent to Postgres as one statement.

        They are sent before the next other statement, also one that runs through SQLAlchemy, so every statement sees
        them; the remaining ones are sent at the end of the block. If a row can't be stored, the error is raised then.
        """
        assert self._buffer is None, "one inside another would send too late what the outer one holds"
        if not self.backend.buffers_inserts:
            yield
            return
        self._buffer = []
        info = self.connection.info  # read now, because `info` of a lost connection can't be read any more
        info["log10_flush"] = self._flush
        try:
            yield
            self._flush()
        finally:
            self._buffer = None
            info.pop("log10_flush", None)

    def fetch_with_inserts(self, table: Table) -> list[Any]:
        """The organization's rows of a small table. Postgres gets the query and the buffered inserts in one statement.

        So the query costs no round trip, and it does not see these inserts.
        """
        query = self.backend.select(table, self.organization_id)
        inserts, self._buffer = self._buffer, None if self._buffer is None else []
        self._execute(self.backend.combine([*inserts, query]) if inserts else query)
        rows: list[Any] = self._cursor.fetchall()
        return rows

    def _insert(self, table: Table, rows: Sequence[Row], on_conflict: str) -> None:
        if not rows:
            return
        statements = self.backend.insert(table, rows, on_conflict)
        if self._buffer is not None:
            self._buffer.extend(statements)
            return
        for statement in statements:
            self._execute(statement)

    def _flush(self) -> None:
        """Send the buffered inserts."""
        if self._buffer:
            combined = self.backend.combine(self._buffer)
            self._buffer.clear()
            self._execute(combined)

    def _fetch_chunk(self, cursor: Any, rows_at_once: int) -> list[Any]:
        try:
            rows: list[Any] = cursor.fetchmany(rows_at_once)
        except self.backend.driver_error as error:
            raise self.backend.translate(error, self.connection) from error
        return rows

    def _run(self, statement: Statement, values: dict[str, Any], cursor: Any = None) -> Any:
        compiled = statement.compile(self.backend)
        values = {**compiled.constants, **values, "organization_id": self.organization_id}
        for name in compiled.json_lists:
            values[name] = _json(values[name])
        return self._drive("execute", compiled.sql, compiled.parameters(values), cursor)

    def _execute(self, statement: BulkStatement) -> None:
        self._drive("executemany" if statement.runs_many else "execute", statement.sql, statement.parameters)

    def _drive(self, method: str, sql: str, parameters: Any, cursor: Any = None) -> Any:
        """Run `sql` on the driver. As in SQLAlchemy, errors are DBAPIErrors, and a lost connection is invalidated.

        Returns the cursor, which is the transaction's own one if `cursor` is None.
        """
        if self._buffer:
            self._flush()
        if cursor is None:
            if self._cursor is None:  # connections to write with keep a cursor, others need a new one
                self._cursor = self.connection.info.get("log10_cursor") or self.connection.connection.cursor()
            cursor = self._cursor
        try:
            getattr(cursor, method)(sql, parameters)
        except self.backend.driver_error as error:
            raise self.backend.translate(error, self.connection) from error
        return cursor


_json = json.JSONEncoder(ensure_ascii=False).encode
