"""Runs a case against the limit and against our servers, in turn, and makes the rows of the result."""

import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import raw, wrk
from benchmarks.cases import BARE_MS, MAX_WRITTEN_KB, Case
from benchmarks.databases import SQLITE, Holder
from benchmarks.options import CantMeasure
from benchmarks.rows import Cost, Row, row_of
from benchmarks.servers import TOKEN, Server
from benchmarks.wrk import Load

WARM_UP = 1  # seconds; wrk takes whole ones


class Subject(NamedTuple):
    """Our server on one database."""

    holder: Holder
    server: Server
    database: str

    @property
    def kind(self) -> str:
        """The kind of its database."""
        return self.holder.kind

    def count(self, statement: str) -> int:
        """What a statement counts in its database."""
        return self.holder.number(self.database, statement)


class Comparison:
    """The limit and the servers that are compared with it."""

    def __init__(self, limit: Server, subjects: Sequence[Subject], rounds: int, seconds: int) -> None:
        self.limit, self.subjects, self.rounds, self.seconds = limit, subjects, rounds, seconds
        self._runs = 0

    def throughput(self, case: Case) -> list[Row]:
        """A row for each server: its rate as a share of the limit's."""
        rows = []
        for subject, rounds in self._rounds(case, self.seconds).items():
            row = row_of(case.name, subject.kind, rounds)
            row.ratio = statistics.median(load.rate / bare.rate for bare, load, _ in rounds)
            row.goal = case.goals[subject.kind]
            row.met = row.ratio >= row.goal
            rows.append(row)
        return rows

    def one_client(self, case: Case) -> list[Row]:
        """The median of one client. The goal is scaled by the median of the bare endpoint on this machine."""
        rows = []
        for subject, rounds in self._rounds(case, min(2, self.seconds)).items():  # two seconds are enough for a median
            row = row_of(case.name, subject.kind, rounds)
            row.unit, row.ours = "ms", row.p50_ms
            row.limit = statistics.median(bare.p50 for bare, _, _ in rounds)
            row.goal = case.goals[subject.kind] * row.limit / BARE_MS
            row.met = row.ours is not None and row.ours <= row.goal
            row.note = f"a durable commit of one row takes {raw.commit_ms(subject.holder):.2f} ms"
            rows.append(row)
        return rows

    def load(
        self, server: Server, subject: Subject | None, case: Case, seconds: int | None = None
    ) -> tuple[Load, Cost]:
        """A warm-up and a run. Raises CantMeasure when not all that was acknowledged is stored."""
        counted = subject if case.stored else None
        before = counted.count(case.stored or "") if counted else 0
        written = subject.holder.written(server) if subject else None
        warm_up = wrk.run(server.url, TOKEN, case.script(self.next_run()), case.clients, WARM_UP)
        server.reset_peak()
        cpu, database_cpu = server.cpu(), subject.holder.cpu() if subject else None
        load = wrk.run(server.url, TOKEN, case.script(self.next_run()), case.clients, seconds or self.seconds)
        cpu = server.cpu() - cpu
        database_cpu = None if subject is None or database_cpu is None else (subject.holder.cpu() or 0) - database_cpu
        written_kb = None
        if counted:
            acknowledged = (warm_up.requests + load.requests) * case.each
            stored = settled_count(counted, case.stored or "") - before
            # At the end of each run every client may have had one more on its way.
            if not acknowledged <= stored <= acknowledged + 2 * case.clients * case.each:
                raise CantMeasure(f"{case.name}, {counted.kind}: {acknowledged} acknowledged, but {stored} stored.")
            if written is not None:
                written_kb = ((counted.holder.written(server) or 0) - written) / 1000 / stored
        return load, Cost(cpu, database_cpu, server.peak(), written_kb)

    def next_run(self) -> int:
        """A number that no other run has."""
        self._runs += 1
        return time.time_ns() // 1000 % 2**30 + self._runs

    def _rounds(self, case: Case, seconds: int) -> dict[Subject, list[tuple[Load, Load, Cost]]]:
        rounds: dict[Subject, list[tuple[Load, Load, Cost]]] = {subject: [] for subject in self.subjects}
        for _ in range(self.rounds):
            for subject in self.subjects:
                bare, _ = self.load(self.limit, None, case, seconds)
                load, cost = self.load(subject.server, subject, case, seconds)
                rounds[subject].append((bare, load, cost))
        return rounds


def written_row(row: Row) -> Row:
    """What the creates of this row wrote to disk for each completion. The goal is for SQLite."""
    written = Row("written to disk for a completion of 2.5 KB", row.database, "KB", ours=row.written_kb)
    if row.written_kb is None:
        written.note = "not known on this system"
    elif row.database == SQLITE:
        written.goal, written.met = MAX_WRITTEN_KB, row.written_kb <= MAX_WRITTEN_KB
    else:
        written.note = "the write-ahead log only"
    return written


def settled_count(subject: Subject, stored: str) -> int:
    """The count once it doesn't grow any more: a server finishes what it had begun when its clients left."""
    count, before = subject.count(stored), -1
    while count != before:
        time.sleep(0.05)
        count, before = subject.count(stored), count
    return count
