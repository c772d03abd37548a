"""Measures the rows of the table of `make bench`: throughput and latency of our server on new databases."""

import json
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import bodies, cases, killed, machine, peer, raw, results, wrk
from benchmarks.cases import Case
from benchmarks.client import Client
from benchmarks.comparing import WARM_UP, Comparison, Subject, written_row
from benchmarks.databases import Holder, opened
from benchmarks.options import CantMeasure, Options
from benchmarks.rows import Cost, Row, cells, row_of
from benchmarks.servers import Server, limit, ours
from log10_server.db.database import Database

NAME = "bench"
CLIENTS = (1, 2, 4, 8, 16, 32, 64)
_WRITTEN = "written to disk for a completion of 2.5 KB"


class Bench:
    """The servers, and what was measured so far."""

    def __init__(self, options: Options, folder: Path, holders: Sequence[Holder], stack: ExitStack) -> None:
        """Starts and fills everything; it is ended with `stack`."""
        self.options, self.folder = options, folder
        self.rows: list[Row] = []
        self.clients: dict[str, dict[int, float]] = {}
        self.subjects = [Subject(holder, ours(holder.kind, holder.url(NAME), folder), NAME) for holder in holders]
        for subject in self.subjects:
            stack.callback(subject.server.stop)
            self._prepare(subject)
        answers = folder / "lists.json"
        answers.write_text(json.dumps(self._lists(self.subjects[0].server)))
        self.limit = limit(answers, folder)
        stack.callback(self.limit.stop)
        self._check_lists(answers)
        self.comparison = Comparison(self.limit, self.subjects, options.rounds, options.seconds)

    def measure(self) -> None:
        """Measure all rows that were chosen."""
        wants = self.options.wants
        creates = cases.creates(self.folder)
        for case in [*cases.lists(), *creates, *cases.writes(self.folder)]:
            if wants(case.name) or (case is creates[0] and wants(_WRITTEN)):
                _say(case.name)
                rows = self.comparison.throughput(case)
                self.rows += rows
                if case is creates[0]:
                    self.rows += map(written_row, rows)
        if wants((alone := cases.one_client(self.folder)).name):
            _say(alone.name)
            self.rows += self.comparison.one_client(alone)
        batches = cases.batches(self.folder, 2500)
        if wants(batches.name):
            self._bulk(batches)
        if not self.options.only:
            self._by_clients()
        if self.options.peer:
            self._peer()
        for subject in self.subjects:
            for name, kill_database in killed.ways(subject.kind):
                if wants(name):
                    self._killed(subject, name, kill_database)
        if not self.rows:
            raise CantMeasure(f"ONLY is {self.options.only!r}, and no row of the table has that in its name.")

    def _bulk(self, case: Case) -> None:
        """Against raw inserts of the driver instead of the bare endpoint."""
        _say(case.name)
        for subject in self.subjects:
            inserts = raw.RawInserts(subject.holder, 2500)
            rounds, rates = [], []
            for _ in range(self.options.rounds):
                rates.append(inserts.rows_per_second(transactions=10))
                load, cost = self.comparison.load(subject.server, subject, case)
                rounds.append((load, load, cost))
            inserts.close()
            row = row_of(case.name, subject.kind, rounds, case.each)
            row.limit = statistics.median(rates)
            row.ratio = statistics.median(
                load.rate * case.each / rate for (_, load, _), rate in zip(rounds, rates, strict=True)
            )
            row.goal = case.goals[subject.kind]
            row.met = row.ratio >= row.goal
            row.note = "the limit is raw inserts by the driver; costs are for 1 000 rows"
            self.rows.append(row)

    def _by_clients(self) -> None:
        """Short runs for the picture of throughput against the number of clients."""
        create = cases.created(self.folder, 2500)
        for clients in CLIENTS:
            _say(f"create by {clients} clients")
            case = Case("by clients", {}, clients, create, cases.COMPLETIONS)
            servers: list[tuple[Server, Subject | None]] = [(self.limit, None)]
            servers += [(subject.server, subject) for subject in self.subjects]
            for server, subject in servers:
                load, _ = self.comparison.load(server, subject, case, seconds=2)
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
            cost = Cost(phoenix.server.cpu() - cpu, None, phoenix.server.peak(), None)
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
    result = {"rows": [asdict(row) for row in bench.rows], "clients": bench.clients, "body": bodies.DESCRIPTION}
    # A part is not what the charts are drawn from.
    results.written(
        f"{NAME}-part" if options.only else NAME,
        "Throughput and latency",
        about,
        cells(bench.rows),
        result,
        note=f"The body: {bodies.DESCRIPTION}.",
    )


def _say(what: str) -> None:
    print(f"  … {what}", flush=True)
