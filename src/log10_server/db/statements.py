"""Statements that are built once: SQLAlchemy compiles them, and the driver itself runs them.

To build a statement and to run it through SQLAlchemy takes ten times as long as a short look into an index, so what
the hot paths run is a `Statement`, made when its module is imported. It is compiled for a database the first time it
is run there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy.sql import ClauseElement

from log10_server.db.backend import Backend
from log10_server.db.query_builder import QueryBuilder


class CompiledStatement(NamedTuple):
    """A statement as the driver of one kind of database takes it."""

    sql: str
    positions: tuple[str, ...] | None  # the parameters in their order; None where the driver takes them by name
    constants: dict[str, Any]
    json_lists: frozenset[str]  # parameters that are lists and go to the driver as JSON

    def parameters(self, values: dict[str, Any]) -> Any:
        """`values`, the constants of the statement among them, as the driver takes them."""
        return values if self.positions is None else [values[name] for name in self.positions]


class Statement:
    """A statement about one organization. Its parameters are named where it is built, and passed when it is run."""

    __slots__ = ("_build", "_compiled")

    def __init__(self, build: Callable[[QueryBuilder], ClauseElement]) -> None:
        self._build = build
        self._compiled: dict[str, CompiledStatement] = {}

    def compile(self, backend: Backend) -> CompiledStatement:
        """The statement for this kind of database."""
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
