"""What the driver is told about whole rows of a table, values in the order of its columns.

SQLAlchemy takes several times as long to say it. Postgres gets one statement with an array for each column, SQLite one
that is repeated.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, Table

Row = tuple[Any, ...]

MISSING = " ON CONFLICT DO NOTHING"

_ARRAYS: dict[type, str] = {BigInteger: "bigint[]", Integer: "integer[]", Boolean: "boolean[]", Double: "float8[]"}

# Parameters of one statement on SQLite, which may have 999 in any version. To begin and end it for each row costs a
# third of the row; with more than these nothing more is saved.
_PARAMETERS = 250


def inserted_into_postgres(table: Table, rows: Sequence[Row], on_conflict: str) -> tuple[str, Sequence[Any]]:
    """A statement that inserts `rows`, and its parameters."""
    if len(rows) == 1:  # without arrays, which psycopg is slow to build
        return _values(table, "%s") + on_conflict, rows[0]
    return _unnest(table) + on_conflict, [rows[0][0], *_by_column(table, rows)]


@cache
def combined(statements: tuple[str, ...]) -> str:
    """One statement that does what several for Postgres do; none of them sees what another one does."""
    *others, last = statements
    parts = ", ".join(f"part_{number} AS ({statement})" for number, statement in enumerate(others))
    return f"WITH {parts} {last}" if parts else last


def inserted_into_sqlite(
    table: Table, rows: Sequence[Row], on_conflict: str
) -> Iterator[tuple[str, Iterable[Sequence[Any]]]]:
    """Statements that insert `rows`, each with parameters for every time it is run."""
    at_once = _PARAMETERS // len(table.columns)
    whole = len(rows) - len(rows) % at_once
    if whole:
        several = (tuple(chain.from_iterable(rows[at : at + at_once])) for at in range(0, whole, at_once))
        yield _values(table, "?", at_once) + on_conflict, several
    if whole < len(rows):
        yield _values(table, "?") + on_conflict, rows[whole:]


@cache
def replaced(table: Table, mark: str) -> str:
    """A statement that replaces one row of an owned table: its parameters are the row, the organization and id last."""
    key, id, *rest = (column.name for column in table.columns)
    values = ", ".join(f"{name} = {mark}" for name in rest)
    return f"UPDATE {table.name} SET {values} WHERE {key} = {mark} AND {id} = {mark}"


def removed_from_postgres(table: Table, rows: Sequence[Row]) -> tuple[str, Sequence[Any]]:
    """A statement that deletes these rows, none of whose values is null, and its parameters."""
    return _removed_by_arrays(table), [*_by_column(table, rows), rows[0][0]]


@cache
def removed_from_sqlite(table: Table) -> str:
    """A statement that deletes one row, none of whose values is null."""
    return f"DELETE FROM {table.name} WHERE {' AND '.join(f'{column.name} = ?' for column in table.columns)}"


@cache
def _values(table: Table, mark: str, rows: int = 1) -> str:
    values = f"({', '.join([mark] * len(table.columns))})"
    return f"INSERT INTO {table.name} ({_names(table)}) VALUES {', '.join([values] * rows)}"


@cache
def _unnest(table: Table) -> str:
    return f"INSERT INTO {table.name} ({_names(table)}) SELECT %s, its.* FROM unnest({_arrays(table)}) AS its"


@cache
def _removed_by_arrays(table: Table) -> str:
    owner, *others = (column.name for column in table.columns)
    same = " AND ".join(f"{table.name}.{name} = its.{name}" for name in others)
    its = f"unnest({_arrays(table)}) AS its ({', '.join(others)})"
    return f"DELETE FROM {table.name} USING {its} WHERE {table.name}.{owner} = %s AND {same}"


def _names(table: Table) -> str:
    return ", ".join(column.name for column in table.columns)


def _arrays(table: Table) -> str:
    """Of all columns but the organization, which is that of the transaction in each row."""
    return ", ".join(f"%b::{_ARRAYS.get(type(column.type), 'text[]')}" for column in list(table.columns)[1:])


def _by_column(table: Table, rows: Sequence[Row]) -> list[list[Any] | None]:
    by_column = list(zip(table.columns, zip(*rows, strict=True), strict=True))
    return [_array(column, values) for column, values in by_column[1:]]


def _array(column: Column[Any], values: Sequence[Any]) -> list[Any] | None:
    """psycopg takes no list that mixes whole numbers with others, and long for nulls: `unnest` fills up with these."""
    if values.count(None) == len(values):
        return None
    if isinstance(column.type, Double):
        return [None if value is None else float(value) for value in values]
    return list(values)
