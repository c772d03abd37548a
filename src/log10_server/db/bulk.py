"""SQL for bulk INSERT, UPDATE and DELETE of whole rows, run directly on the driver.

SQLAlchemy Core costs several times more per row. A row is a tuple of values in the order of the table's columns. What
follows is the same for both databases but for the mark that stands for a parameter.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Table

Row = tuple[Any, ...]

SKIP_TAKEN_KEYS = " ON CONFLICT DO NOTHING"


class BulkStatement(NamedTuple):
    """SQL and its parameters; with `runs_many` the parameters are a list for each time that it is run."""

    sql: str
    parameters: Iterable[Any]
    runs_many: bool = False


@cache
def column_names(table: Table) -> str:
    """All columns in their order, as SQL."""
    return ", ".join(column.name for column in table.columns)


@cache
def insert_values(table: Table, mark: str, rows: int = 1) -> str:
    """A statement that inserts so many rows; its parameters are their values, one row after the other."""
    values = f"({', '.join([mark] * len(table.columns))})"
    return f"INSERT INTO {table.name} ({column_names(table)}) VALUES {', '.join([values] * rows)}"


@cache
def update_row(table: Table, mark: str) -> str:
    """A statement that replaces one row of an owned table. Its parameters are the row's, organization and id last."""
    organization_id, row_id, *others = (column.name for column in table.columns)
    values = ", ".join(f"{name} = {mark}" for name in others)
    return f"UPDATE {table.name} SET {values} WHERE {organization_id} = {mark} AND {row_id} = {mark}"


def replace_rows(table: Table, rows: Iterable[Row], mark: str) -> BulkStatement:
    """Put `rows` in the place of those with the same organization and id."""
    return BulkStatement(update_row(table, mark), [(*row[2:], *row[:2]) for row in rows], runs_many=True)
