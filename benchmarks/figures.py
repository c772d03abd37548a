"""The figures of `make bench-scale`, with their goals, and the table that shows them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.table import number

FACTOR = 1.5
ALLOWED_MS = 2.0


@dataclass(frozen=True)
class Goal:
    """What a figure should be: at most or at least a bound, flat, or steady.

    A flat figure may grow by a half and 2 ms, a steady one may shrink by a third.
    """

    at_most: float | None = None
    at_least: float | None = None
    is_flat: bool = False
    is_steady: bool = False

    def __str__(self) -> str:
        if self.is_flat:
            return "≤ 1.5 x + 2 ms"
        if self.is_steady:
            return "≥ 0.67 x"
        return f"≤ {self.at_most:g}" if self.at_most is not None else f"≥ {self.at_least:g}"

    def is_met(self, at: Mapping[int, float]) -> bool | None:
        """Whether the figures by size reach it: a bound at every size, the others at the last one. None if that is not known."""
        figures = list(at.values())
        if math.inf in figures:  # what failed has no figure
            return False
        if self.is_flat:
            return figures[-1] <= FACTOR * figures[0] + ALLOWED_MS if len(figures) > 1 else None
        if self.is_steady:
            return FACTOR * figures[-1] >= figures[0] if len(figures) > 1 else None
        if self.at_most is not None:
            return max(figures) <= self.at_most
        return self.at_least is not None and min(figures) >= self.at_least


FLAT = Goal(is_flat=True)
STEADY = Goal(is_steady=True)


def at_most(bound: float) -> Goal:
    return Goal(at_most=bound)


def at_least(bound: float) -> Goal:
    return Goal(at_least=bound)


@dataclass
class Figure:
    """Something that was measured on one database, at one or several sizes of the history."""

    part: str
    name: str
    database: str
    unit: str
    goal: Goal | None = None
    at: dict[int, float] = field(default_factory=dict)
    note: str = ""

    @property
    def met(self) -> bool | None:
        return None if self.goal is None or not self.at else self.goal.is_met(self.at)

    def as_json(self) -> dict[str, Any]:
        """The figure for the file of results."""
        return {**asdict(self), "goal": None if self.goal is None else str(self.goal), "met": self.met}


class Figures:
    """All figures of one database. They are kept in the order in which they were first noted."""

    def __init__(self, database: str) -> None:
        self.database = database
        self._by_name: dict[tuple[str, str], Figure] = {}

    def note(
        self, part: str, name: str, size: int, value: float, unit: str, goal: Goal | None = None, note: str = ""
    ) -> None:
        """Note a value at a size of the history."""
        figure = self._by_name.setdefault((part, name), Figure(part, name, self.database, unit, goal))
        figure.at[size] = value
        figure.goal = goal
        figure.note = note or figure.note

    def all(self) -> list[Figure]:
        return list(self._by_name.values())


def cells(figures: Iterable[Figure]) -> list[Sequence[str]]:
    """The table, its head first, with a column for each size."""
    figures = list(figures)
    sizes = sorted({size for figure in figures for size in figure.at})
    head = ["part: what", "database", *(number(size, 0) for size in sizes), "unit", "goal", "", "note"]
    return [head, *(_row(figure, sizes) for figure in figures)]


def _row(figure: Figure, sizes: Sequence[int]) -> list[str]:
    return [
        f"{figure.part}: {figure.name}",
        figure.database,
        *(number(figure.at.get(size)) for size in sizes),
        figure.unit,
        "" if figure.goal is None else str(figure.goal),
        "" if figure.met is None else "met" if figure.met else "missed",
        figure.note,
    ]
