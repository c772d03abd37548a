"""A transaction of one organization: every statement begins from rows that are its own."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Delete,
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

from log10_server.db import bulk
from log10_server.db.bulk import Row
from log10_server.db.statements import Statement
from log10_server.errors import Unavailable

if TYPE_CHECKING:
    from log10_server.db.database import Database


class Tx:
    """A transaction as one organization sees it: every statement begins from rows that are its own."""

    __slots__ = ("_driver", "_gathered", "connection", "database", "organization_id")

    def __init__(self, database: "Database", connection: Connection, organization_id: str) -> None:
        self.database = database
        self.connection = connection
        self.organization_id = organization_id
        self._driver: Any = None
        self._gathered: list[tuple[str, Sequence[Any]]] | None = None

    def now(self) -> int:
        """An instant that no other call of this process gets."""
        return self.database.clock.now()

    def check_deadline(self) -> None:
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
        """What `statement` finds for each value of the parameter `name` (`QueryBuilder.each`)."""
        if self.database.is_postgres:
            return self.fetch(statement, **values, **{name: list(each)}) if each else []
        return [row for one in each for row in self.fetch(statement, **values, **{name: one})]

    @contextmanager
    def buffered_inserts(self) -> Iterator[None]:
        """Rows that are inserted inside go to Postgres in one statement, before what this Tx does next, or at the end.

        What can't be stored is raised then. Nothing inside goes by way of SQLAlchemy: it would come before them.
        """
        assert self._gathered is None, "one inside another would send too late what the outer one holds"
        self._gathered = [] if self.database.is_postgres else None
        try:
            yield
            self._send()
        finally:
            self._gathered = None

    def run(self, statement: Statement, **values: Any) -> None:
        """Do what `statement` says."""
        self._run(statement, values)

    def _run(self, statement: Statement, values: dict[str, Any]) -> Any:
        sql, names, constants, lists = statement.written(self.database.engine.dialect)
        said = {**constants, **values, "organization_id": self.organization_id}
        for name in lists:
            said[name] = _json(said[name])
        return self._by_driver("execute", sql, said if self.database.is_postgres else [said[name] for name in names])

    def _by_driver(self, method: str, sql: str, values: Any) -> Any:
        """Run `sql` by the driver. Raises as SQLAlchemy does, and drops a connection that is lost as it does."""
        if self._gathered:
            self._send()
        if self._driver is None:  # to write with, a connection keeps one
            self._driver = self.connection.info.get("log10_cursor") or self.connection.connection.cursor()
        try:
            getattr(self._driver, method)(sql, values)
        except self.database.driver_error as error:
            raise self.database.raised(error, self.connection) from error
        return self._driver

    def _send(self) -> None:
        """Insert what was gathered."""
        if self._gathered:
            statements, values = zip(*self._gathered, strict=True)
            self._gathered.clear()
            self._by_driver("execute", bulk.combined(statements), list(chain.from_iterable(values)))

    def insert_many(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert `rows`, values in the order of the columns."""
        self._insert(table, rows, "")

    def insert_missing(self, table: Table, rows: Sequence[Row]) -> None:
        """As `insert_many`, without the rows whose key is taken."""
        self._insert(table, rows, bulk.MISSING)

    def replace_many(self, table: Table, rows: Sequence[Row]) -> None:
        """Store `rows` in the place of those that have their keys, the organization and an id."""
        if rows:
            sql = bulk.replaced(table, "%s" if self.database.is_postgres else "?")
            self._by_driver("executemany", sql, [(*row[2:], *row[:2]) for row in rows])

    def remove_many(self, table: Table, rows: Sequence[Row]) -> None:
        """Delete these whole rows, values in the order of the columns and none of them null."""
        if rows and self.database.is_postgres:
            self._by_driver("execute", *bulk.removed_from_postgres(table, rows))
        elif rows:
            self._by_driver("executemany", bulk.removed_from_sqlite(table), rows)

    def _insert(self, table: Table, rows: Sequence[Row], on_conflict: str) -> None:
        if not rows:
            return
        if not self.database.is_postgres:
            for sql, values in bulk.inserted_into_sqlite(table, rows, on_conflict):
                self._by_driver("executemany", sql, values)
            return
        self.database.grew(table, len(rows))
        inserted = bulk.inserted_into_postgres(table, rows, on_conflict)
        if self._gathered is None:
            self._by_driver("execute", *inserted)
        else:
            self._gathered.append(inserted)


_json = json.JSONEncoder(ensure_ascii=False).encode
