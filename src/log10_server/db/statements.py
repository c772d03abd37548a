"""Statements that are built once: SQLAlchemy writes their text, and the driver itself runs it.

To build a statement and to run it through SQLAlchemy takes ten times as long as a short look into an index, so what
the hot paths ask is a `Statement`, made when its module is imported. Its text for a database is written the first
time it is run there.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.types import TypeEngine


class QueryBuilder:
    """What a statement is built with: the organization's rows, and values that are given when it is run."""

    __slots__ = ("_each", "is_postgres", "lists")

    def __init__(self, is_postgres: bool) -> None:
        self.is_postgres = is_postgres
        self.lists: set[str] = set()  # parameters that are lists and given as JSON
        self._each: Any = None

    def each(self, name: str, kind: TypeEngine[Any]) -> ColumnElement[Any]:
        """A parameter that is given many values (`Tx.fetch_each`): the statement is asked for each of them."""
        if not self.is_postgres:
            return bindparam(name, type_=kind)
        self._each = (
            func.unnest(bindparam(name, type_=ARRAY(kind))).table_valued("given", name="each_given").render_derived()
        )
        column: ColumnElement[Any] = self._each.c.given
        return column

    def whole(self, statement: ClauseElement) -> ClauseElement:
        """Postgres asks for all values of `each` in one statement; SQLite, which has nobody to wait for, one by one."""
        if self._each is None:
            return statement
        narrowed: Any = statement
        one = narrowed.correlate(self._each).lateral("one")
        return select(one).select_from(self._each.join(one, true()))

    def rows(self, table: Table, *columns: str) -> Select[Any]:
        """The organization's rows of `table`: all columns in their order, or those named."""
        wanted = [table.c[name] for name in columns] if columns else [table]
        return select(*wanted).where(self.mine(table))

    def mine(self, table: Any) -> ColumnElement[bool]:
        """Whether a row of `table`, or of an alias of it, is the organization's."""
        mine: ColumnElement[bool] = table.c.organization_id == bindparam("organization_id", type_=Text())
        return mine

    def among(self, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        """Whether `column` is one of the list that is given as `name`."""
        if self.is_postgres:
            kind = BigInteger() if isinstance(column.type, BigInteger) else Text()
            return column == any_(bindparam(name, type_=ARRAY(kind)))
        self.lists.add(name)
        return column.in_(select(text("value")).select_from(func.json_each(bindparam(name, type_=Text()))))

    def found(self, rows: Select[Any], column: ColumnElement[Any], name: str) -> Select[Any]:
        """Those of `rows` whose `column`, a key or the begin of one, is one of the list that is given as `name`.

        Postgres looks for each value by itself, however few rows it believes there are: for `ANY` it would read all
        rows of an organization while these are few or not yet counted, or plan anew each time that few are given.
        """
        if not self.is_postgres:
            return rows.where(self.among(column, name))
        self.lists.add(name)
        listed = func.json_array_elements_text(cast(bindparam(name, type_=Text()), JSON))
        given = listed.table_valued("value", name=f"given_{name}").render_derived()
        value = cast(given.c.value, BigInteger) if isinstance(column.type, BigInteger) else given.c.value
        # An offset keeps the planner from making one join of all.
        each = rows.where(column == value).offset(literal_column("0")).correlate(given).lateral(f"found_{name}")
        return select(each).select_from(given.join(each, true()))


class CompiledStatement(NamedTuple):
    """A statement as the driver takes it: on SQLite its parameters have an order, on Postgres names."""

    sql: str
    names: tuple[str, ...]
    constants: dict[str, Any]
    lists: frozenset[str]  # parameters that are given as JSON


# Arrays go to Postgres in binary: as text, psycopg looks through each of their texts for what must be escaped.
_ARRAY = re.compile(r"%\((\w+)\)s::(?=\w+\[\])")


class Statement:
    """A statement about one organization. Its parameters are named where it is built, and given when it is run."""

    __slots__ = ("_build", "_written")

    def __init__(self, build: Callable[[QueryBuilder], ClauseElement]) -> None:
        self._build = build
        self._written: dict[str, CompiledStatement] = {}

    def written(self, dialect: Dialect) -> CompiledStatement:
        known = self._written.get(dialect.name)
        if known is None:
            asked = QueryBuilder(dialect.name == "postgresql")
            compiled: Any = asked.whole(self._build(asked)).compile(dialect=dialect)
            constants = {name: value for name, value in compiled.params.items() if value is not None}
            sql = _ARRAY.sub(r"%(\1)b::", compiled.string) if asked.is_postgres else compiled.string
            known = self._written[dialect.name] = CompiledStatement(
                sql, tuple(compiled.positiontup or ()), constants, frozenset(asked.lists)
            )
        return known
