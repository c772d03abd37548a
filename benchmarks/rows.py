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
    written_kb: float | None = None
    note: str = ""


class Cost(NamedTuple):
    """What a run cost: seconds of CPU of the server and of the database, peak of memory in MB, and KB written to disk
    for each row that was stored."""

    cpu: float
    database_cpu: float | None
    peak: float
    written_kb: float | None


def row_of(name: str, kind: str, rounds: list[tuple[Load, Load, Cost]], each: int = 1) -> Row:
    """Medians of the rounds, each of which is a run of the limit, one of ours, and what ours cost."""
    loads = [load for _, load, _ in rounds]
    thousands = [load.requests * each / 1000 for load in loads]
    costs = [cost for _, _, cost in rounds]
    database = [
        cost.database_cpu / count for cost, count in zip(costs, thousands, strict=True) if cost.database_cpu is not None
    ]
    written = [cost.written_kb for cost in costs if cost.written_kb is not None]
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
        written_kb=statistics.median(written) if written else None,
    )


_HEAD = (
    "what", "database", "limit", "ours", "ratio", "goal", "", "p50 ms", "p99 ms", "CPU s/1000", "database's", "peak MB", "KB written", "note",
)  # fmt: skip


def cells(rows: Sequence[Row]) -> list[Sequence[str]]:
    """The table, its head first."""
    return [_HEAD, *(_shown(row) for row in rows)]


def _shown(row: Row) -> Sequence[str]:
    at_most = row.unit in ("ms", "KB")  # other goals are shares, which are to be reached at least
    digits = 2 if at_most else 0
    return (
        row.name,
        row.database,
        number(row.limit, digits) + (row.unit if row.limit is not None else ""),
        number(row.ours, digits) + (row.unit if row.ours is not None else ""),
        number(row.ratio),
        "" if row.goal is None else ("≤ " if at_most else "≥ ") + number(row.goal) + (row.unit if at_most else ""),
        "" if row.met is None else "met" if row.met else "missed",
        number(row.p50_ms),
        number(row.p99_ms),
        number(row.cpu_s),
        number(row.database_cpu_s),
        number(row.peak_mb, 0),
        number(row.written_kb, 1),
        row.note,
    )
