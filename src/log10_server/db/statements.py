"""Statements that SQLAlchemy builds and compiles only once, and that then run directly on the driver.

Building a statement and running it through SQLAlchemy takes ten times as long as an index lookup. So each frequent
statement is a `Statement`, which is created when its module is imported and compiled when it first runs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy.sql import ClauseElement

from log10_server.db.backend import Backend
from log10_server.db.query_builder import QueryBuilder


class CompiledStatement(NamedTuple):
    """A statement in the form that the driver of one kind of database runs."""

    sql: str
    positions: tuple[str, ...] | None  # names of the parameters in order; None if the driver takes them by name
    constants: dict[str, Any]
    json_lists: frozenset[str]  # parameters that are lists and are passed to the driver as JSON

    def parameters(self, values: dict[str, Any]) -> Any:
        """Convert `values`, which include the constants of the statement, to the form that the driver takes."""
        return values if self.positions is None else [values[name] for name in self.positions]


class Statement:
    """A statement on the rows of one organization. The values of its parameters are passed when it runs."""

    __slots__ = ("_build", "_compiled")

    def __init__(self, build: Callable[[QueryBuilder], ClauseElement]) -> None:
        self._build = build
        self._compiled: dict[str, CompiledStatement] = {}

    def compile(self, backend: Backend) -> CompiledStatement:
        """The statement, compiled for this kind of database. Later calls return the same object."""
        known = self._compiled.get(backend.name)
        if known is None:
            query = backend.query_builder()
            compiled: Any = query.finish(self._build(query)).compile(dialect=backend.dialect)
            known = self._compiled[backend.name] = CompiledStatement(
                backend.driver_sql(compiled.string),
                tuple(compiled.positiontup) if compiled.positional else None,
                {name: value for name, value in compiled.params.items() if value is not None},
                frozenset(query.json_lists),
            )
        return known
