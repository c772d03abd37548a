"""SQL for bulk INSERT, UPDATE and DELETE of whole rows, run directly on the driver.

SQLAlchemy Core costs several times more per row. A row is a tuple of values in the order of the table's columns. The
SQL is the same for both databases except for the `placeholder` of a parameter.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Table

Row = tuple[Any, ...]

SKIP_TAKEN_KEYS = " ON CONFLICT DO NOTHING"


class BulkStatement(NamedTuple):
    """SQL and its parameters. With `runs_many` it runs once for each item of `parameters` (`executemany`)."""

    sql: str
    parameters: Iterable[Any]
    runs_many: bool = False


@cache
def overwrite_taken_keys(table: Table) -> str:
    """The end of an INSERT that makes it replace the rows whose primary key already exists in the table."""
    key = [column.name for column in table.primary_key.columns]
    others = (column.name for column in table.columns if column.name not in key)
    values = ", ".join(f"{name} = excluded.{name}" for name in others)
    return f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {values}"


@cache
def column_names(table: Table) -> str:
    """The names of all columns of the table, in their order, separated by commas."""
    return ", ".join(column.name for column in table.columns)


@cache
def add_to_last_column(table: Table) -> str:
    """The end of an INSERT that adds the last value of a row to the stored one where the key of the row exists."""
    key = ", ".join(column.name for column in table.primary_key)
    last = list(table.columns)[-1].name
    return f" ON CONFLICT ({key}) DO UPDATE SET {last} = {table.name}.{last} + excluded.{last}"


@cache
def insert_values(table: Table, placeholder: str, rows: int = 1) -> str:
    """A statement that inserts `rows` rows. Its parameters are the values of all rows, one row after the other."""
    values = f"({', '.join([placeholder] * len(table.columns))})"
    return f"INSERT INTO {table.name} ({column_names(table)}) VALUES {', '.join([values] * rows)}"


@cache
def select_rows(table: Table, placeholder: str) -> str:
    """A query for all rows of an organization in an owned table. Its parameter is the organization."""
    return f"SELECT {column_names(table)} FROM {table.name} WHERE organization_id = {placeholder}"


@cache
def update_row(table: Table, placeholder: str) -> str:
    """A statement that replaces one row of an owned table.

    Its parameters are the values of the row, with the organization and the id last.
    """
    organization_id, row_id, *others = (column.name for column in table.columns)
    values = ", ".join(f"{name} = {placeholder}" for name in others)
    return f"UPDATE {table.name} SET {values} WHERE {organization_id} = {placeholder} AND {row_id} = {placeholder}"


def replace_rows(table: Table, rows: Iterable[Row], placeholder: str) -> BulkStatement:
    """A statement that replaces the stored rows that have the same organization and id as `rows`."""
    return BulkStatement(update_row(table, placeholder), [(*row[2:], *row[:2]) for row in rows], runs_many=True)
