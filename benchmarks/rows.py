"""The rows of the table of throughput: made from rounds, and shown."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.table import number
from benchmarks.wrk import Load


@dataclass
class Row:
    """A row of the result. `limit`, `ours` and `goal` are what is compared, in `unit`; costs are for 1 000 requests."""

    name: str
    database: str
    unit: str
    limit: float | None = None
    ours: float | None = None
    ratio: float | None = None
    goal: float | None = None
    met: bool | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_s: float | None = None
    database_cpu_s: float | None = None
    peak_mb: float | None = None
    note: str = ""


class Cost(NamedTuple):
    """What a run cost: seconds of CPU of the server and of the database, peak of memory in MB."""

    cpu: float
    database_cpu: float | None
    peak: float


def row_of(name: str, kind: str, rounds: list[tuple[Load, Load, Cost]], each: int = 1) -> Row:
    """Medians of the rounds, each of which is a run of the limit, one of ours, and what ours cost."""
    loads = [load for _, load, _ in rounds]
    thousands = [load.requests * each / 1000 for load in loads]
    costs = [cost for _, _, cost in rounds]
    database = [
        cost.database_cpu / count for cost, count in zip(costs, thousands, strict=True) if cost.database_cpu is not None
    ]
    return Row(
        name,
        kind,
        "/s",
        limit=statistics.median(bare.rate for bare, _, _ in rounds) * each,
        ours=statistics.median(load.rate for load in loads) * each,
        p50_ms=statistics.median(load.p50 for load in loads),
        p99_ms=statistics.median(load.p99 for load in loads),
        cpu_s=statistics.median(cost.cpu / count for cost, count in zip(costs, thousands, strict=True)),
        database_cpu_s=statistics.median(database) if database else None,
        peak_mb=max(cost.peak for cost in costs),
    )


_HEAD = (
    "what", "database", "limit", "ours", "ratio", "goal", "", "p50 ms", "p99 ms", "CPU s/1000", "database's", "peak MB", "note",
)  # fmt: skip


def cells(rows: Sequence[Row]) -> list[Sequence[str]]:
    """The table, its head first."""
    return [_HEAD, *(_shown(row) for row in rows)]


def _shown(row: Row) -> Sequence[str]:
    digits = 2 if row.unit == "ms" else 0
    within = "≤ " if row.unit == "ms" else "≥ "
    return (
        row.name,
        row.database,
        number(row.limit, digits) + (row.unit if row.limit is not None else ""),
        number(row.ours, digits) + (row.unit if row.ours is not None else ""),
        number(row.ratio),
        "" if row.goal is None else within + number(row.goal) + ("ms" if row.unit == "ms" else ""),
        "" if row.met is None else "met" if row.met else "missed",
        number(row.p50_ms),
        number(row.p99_ms),
        number(row.cpu_s),
        number(row.database_cpu_s),
        number(row.peak_mb, 0),
        row.note,
    )
