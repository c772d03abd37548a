"""Statements that are built once: SQLAlchemy writes their text, and the driver itself runs it.

To build a statement and to run it through SQLAlchemy takes ten times as long as a short look into an index, so what
the hot paths ask is a `Statement`, made when its module is imported. Its text for a database is written the first
time it is run there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Select, Table, Text, any_, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement


class Asked:
    """What a statement is built with: the organization's rows, and values that are given when it is run."""

    __slots__ = ("is_postgres",)

    def __init__(self, is_postgres: bool) -> None:
        self.is_postgres = is_postgres

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
        return column.in_(select(text("value")).select_from(func.json_each(bindparam(name, type_=Text()))))


class Written(NamedTuple):
    """A statement as the driver takes it: on SQLite its parameters have an order, on Postgres names."""

    sql: str
    names: tuple[str, ...]
    constants: dict[str, Any]


class Statement:
    """A statement about one organization. Its parameters are named where it is built, and given when it is run."""

    __slots__ = ("_build", "_written")

    def __init__(self, build: Callable[[Asked], ClauseElement]) -> None:
        self._build = build
        self._written: dict[str, Written] = {}

    def written(self, dialect: Dialect) -> Written:
        known = self._written.get(dialect.name)
        if known is None:
            compiled: Any = self._build(Asked(dialect.name == "postgresql")).compile(dialect=dialect)
            constants = {name: value for name, value in compiled.params.items() if value is not None}
            known = self._written[dialect.name] = Written(compiled.string, tuple(compiled.positiontup or ()), constants)
        return known
