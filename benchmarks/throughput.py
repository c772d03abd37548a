"""Measures the rows of the table, each round in turn: the limit, ours on one database, the limit, ours on the next."""

import json
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import cases, killed, machine, peer, raw, results, wrk
from benchmarks.cases import Case
from benchmarks.client import Client
from benchmarks.databases import Holder, opened
from benchmarks.options import CantMeasure, Options
from benchmarks.rows import Cost, Row, cells, row_of
from benchmarks.servers import TOKEN, Server, limit, ours
from benchmarks.wrk import Load
from log10_server.db.database import Database

NAME = "bench"
CLIENTS = (1, 2, 4, 8, 16, 32, 64)
WARM_UP = 1  # seconds; wrk takes whole ones
_ALONE = "create 2.5 KB, one client, p50"


class Subject(NamedTuple):
    """Our server on one database."""

    holder: Holder
    server: Server

    @property
    def kind(self) -> str:
        """The kind of its database."""
        return self.holder.kind


class Bench:
    """The servers, and what was measured so far."""

    def __init__(self, options: Options, folder: Path, holders: Sequence[Holder], stack: ExitStack) -> None:
        """Starts and fills everything; it is ended with `stack`."""
        self.options, self.folder = options, folder
        self.rows: list[Row] = []
        self.clients: dict[str, dict[int, float]] = {}
        self._run = 0
        self.subjects = [Subject(holder, ours(holder.kind, holder.url(NAME), folder)) for holder in holders]
        for subject in self.subjects:
            stack.callback(subject.server.stop)
            self._prepare(subject)
        answers = folder / "lists.json"
        answers.write_text(json.dumps(self._lists(self.subjects[0].server)))
        self.limit = limit(answers, folder)
        stack.callback(self.limit.stop)
        self._check_lists(answers)

    def measure(self) -> None:
        """Measure all rows that were chosen."""
        for case in [*cases.lists(), *cases.writes(self.folder)]:
            if self.options.wants(case.name):
                self._throughput(case)
        if self.options.wants(_ALONE):
            self._alone()
        batches = cases.batches(self.folder, 2500)
        if self.options.wants(batches.name):
            self._bulk(batches)
        if not self.options.only:
            self._by_clients()
        if self.options.peer:
            self._peer()
        for subject in self.subjects:
            for name, kill_database in killed.ways(subject.kind):
                if self.options.wants(name):
                    self._killed(subject, name, kill_database)
        if not self.rows:
            raise CantMeasure(f"ONLY is {self.options.only!r}, and no row of the table has that in its name.")

    def _throughput(self, case: Case) -> None:
        _say(case.name)
        measured: dict[str, list[tuple[Load, Load, Cost]]] = {subject.kind: [] for subject in self.subjects}
        for _ in range(self.options.rounds):
            for subject in self.subjects:
                bare, _ = self._load(self.limit, None, case)
                load, cost = self._load(subject.server, subject.holder, case)
                measured[subject.kind].append((bare, load, cost))
        for kind, rounds in measured.items():
            row = row_of(case.name, kind, rounds)
            row.ratio = statistics.median(load.rate / bare.rate for bare, load, _ in rounds)
            row.goal, row.met = case.goal, row.ratio >= case.goal
            self.rows.append(row)

    def _alone(self) -> None:
        """One client: the goal is the bare endpoint's median and one and a half durable commits."""
        _say(_ALONE)
        case = Case(_ALONE, 1.5, 1, cases.created(self.folder, 2500), "SELECT count(*) FROM completion")
        seconds = min(2, self.options.seconds)  # enough for a median
        for subject in self.subjects:
            rounds, commits = [], []
            for _ in range(self.options.rounds):
                bare, _ = self._load(self.limit, None, case, seconds)
                load, cost = self._load(subject.server, subject.holder, case, seconds)
                commits.append(raw.commit_ms(subject.holder))
                rounds.append((bare, load, cost))
            row = row_of(case.name, subject.kind, rounds)
            row.unit, commit = "ms", statistics.median(commits)
            row.limit = statistics.median(bare.p50 for bare, _, _ in rounds)
            row.ours = row.p50_ms
            row.goal = row.limit + case.goal * commit
            row.met = row.ours is not None and row.ours <= row.goal
            row.note = f"a durable commit of one row takes {commit:.2f} ms"
            self.rows.append(row)

    def _bulk(self, case: Case) -> None:
        """Against raw inserts of the driver instead of the bare endpoint."""
        _say(case.name)
        for subject in self.subjects:
            client = Client(subject.server.url)
            is_there = client.is_there(cases.BATCH_PATH)
            client.close()
            if not is_there:
                self.rows.append(Row(case.name, subject.kind, "/s", goal=case.goal, note="not there"))
                continue
            inserts = raw.RawInserts(subject.holder, 2500)
            rounds, rates = [], []
            for _ in range(self.options.rounds):
                rates.append(inserts.rows_per_second(transactions=10))
                load, cost = self._load(subject.server, subject.holder, case)
                rounds.append((load, load, cost))
            row = row_of(case.name, subject.kind, rounds, case.each)
            row.limit = statistics.median(rates)
            row.ratio = statistics.median(
                load.rate * case.each / rate for (_, load, _), rate in zip(rounds, rates, strict=True)
            )
            row.met = row.ratio >= case.goal
            row.goal, row.note = case.goal, "the limit is raw inserts by the driver; costs are for 500 rows"
            self.rows.append(row)

    def _by_clients(self) -> None:
        """Short runs for the picture of throughput against the number of clients."""
        create = cases.created(self.folder, 2500)
        for clients in CLIENTS:
            _say(f"create by {clients} clients")
            case = Case("by clients", 0, clients, create, "SELECT count(*) FROM completion")
            servers: list[tuple[Server, Holder | None]] = [(self.limit, None)]
            servers += [(subject.server, subject.holder) for subject in self.subjects]
            for server, holder in servers:
                load, _ = self._load(server, holder, case, seconds=2)
                self.clients.setdefault(server.name, {})[clients] = round(load.rate, 1)

    def _peer(self) -> None:
        """What another program takes in on the same machine; it has no goal."""
        _say(self.options.peer)
        phoenix = peer.Peer(self.folder)
        try:
            warm_up = phoenix.load(WARM_UP)
            before, _ = phoenix.stored()
            cpu = phoenix.server.cpu()
            load = phoenix.load(self.options.seconds)
            stored, seconds = phoenix.stored()
            cost = Cost(phoenix.server.cpu() - cpu, None, phoenix.server.peak())
        finally:
            phoenix.server.stop()
        row = row_of("Phoenix takes in spans of 2.5 KB, 32 clients", "sqlite", [(load, load, cost)])
        row.limit = None
        row.note = f"{stored - before} of {load.requests} were stored, {seconds:.0f} s after the end"
        if before < warm_up.requests:
            row.note += f"; of {warm_up.requests} before, {before}"
        self.rows.append(row)

    def _killed(self, subject: Subject, name: str, kill_database: bool) -> None:
        _say(f"{name}, {subject.kind}")
        acknowledged = killed.survived(subject.holder, self.folder, kill_database)
        self.rows.append(
            Row(name, subject.kind, "", met=True, note=f"all {acknowledged} acknowledged completions were stored")
        )

    def _load(self, server: Server, holder: Holder | None, case: Case, seconds: int | None = None) -> tuple[Load, Cost]:
        """A warm-up and a run. Raises CantMeasure when not all that was acknowledged is stored."""
        before = holder.number(NAME, case.stored) if holder and case.stored else 0
        warm_up = wrk.run(server.url, TOKEN, case.script(self._next_run()), case.clients, WARM_UP)
        server.reset_peak()
        cpu, database_cpu = server.cpu(), holder.cpu() if holder else None
        load = wrk.run(server.url, TOKEN, case.script(self._next_run()), case.clients, seconds or self.options.seconds)
        cpu = server.cpu() - cpu
        database_cpu = None if holder is None or database_cpu is None else (holder.cpu() or 0) - database_cpu
        if holder and case.stored:
            acknowledged = (warm_up.requests + load.requests) * case.each
            stored = _settled(holder, case.stored) - before
            # At the end of each run every client may have had one more on its way.
            if not acknowledged <= stored <= acknowledged + 2 * case.clients * case.each:
                raise CantMeasure(f"{case.name}, {holder.kind}: {acknowledged} acknowledged, but {stored} stored.")
        return load, Cost(cpu, database_cpu, server.peak())

    def _next_run(self) -> int:
        self._run += 1
        return self._run

    def _prepare(self, subject: Subject) -> None:
        _say(f"preparing {subject.kind}")
        client = Client(subject.server.url)
        client.done("POST", "/api/v1/feedback_task", cases.TASK)
        client.close()
        database = Database(subject.holder.url(NAME))
        cases.prepare(database)
        database.close()
        subject.holder.settle(NAME)

    def _lists(self, server: Server) -> dict[str, Any]:
        client = Client(server.url)
        try:
            return {path: client.done("GET", f"{path}?limit=50").json() for path in cases.LISTS}
        finally:
            client.close()

    def _check_lists(self, answers: Path) -> None:
        """Raises CantMeasure when the limit answers something else, or another database much more or less."""
        expected = json.loads(answers.read_text())
        if self._lists(self.limit) != expected:
            raise CantMeasure("The lists of the limit are not those of the server.")
        for subject in self.subjects[1:]:
            for path, page in self._lists(subject.server).items():
                size, expected_size = len(json.dumps(page)), len(json.dumps(expected[path]))
                if abs(size - expected_size) > expected_size / 100:
                    raise CantMeasure(f"{path} has {size} bytes on {subject.kind}, but {expected_size} on the other.")


def measure(options: Options, folder: Path) -> None:
    """Measure everything and write the result."""
    wrk.check_there()
    with ExitStack() as stack:
        holders = []
        for kind in options.databases:
            holders.append(opened(kind, folder))
            stack.callback(holders[-1].close)
        about = machine.described(options, holders)
        bench = Bench(options, folder, holders, stack)
        bench.measure()
    result = {"rows": [asdict(row) for row in bench.rows], "clients": bench.clients}
    # A part is not what the charts are drawn from.
    results.written(
        f"{NAME}-part" if options.only else NAME, "Throughput and latency", about, cells(bench.rows), result
    )


def _settled(holder: Holder, stored: str) -> int:
    """The count once it doesn't grow any more: a server finishes what it had begun when its clients left."""
    count, before = holder.number(NAME, stored), -1
    while count != before:
        time.sleep(0.05)
        count, before = holder.number(NAME, stored), count
    return count


def _say(what: str) -> None:
    print(f"  … {what}", flush=True)
