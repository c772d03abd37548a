"""What each operation costs as history grows: one organization of 10 000, 100 000, 1 000 000 completions."""

import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any

from benchmarks import bodies, history, machine, results
from benchmarks.cases import BATCH_PATH, VALUES
from benchmarks.client import Client
from benchmarks.databases import Holder, opened
from benchmarks.options import CantMeasure, Options
from benchmarks.servers import Server, ours
from benchmarks.table import number
from log10_server.db.database import Database

NAME = "scale"
GOAL = 1.5  # the cost at the end, as a multiple of that at the start
_WARM_UP = 20
_SMALL_BATCH = 100
_TASKS_MADE = 3

Operation = Callable[[Client, str], float]


@dataclass
class Growth:
    """An operation: at each size of the history its figure, in `unit` (`ms`: the median of many calls)."""

    operation: str
    database: str
    unit: str = "ms"
    goal: float | None = GOAL
    at: dict[int, float] = field(default_factory=dict)

    @property
    def factor(self) -> float | None:
        figures = list(self.at.values())
        return figures[-1] / figures[0] if len(figures) > 1 and figures[0] else None


def measure(options: Options, folder: Path) -> None:
    """Build and measure on each database, one after the other, and write the result.

    Raises CantMeasure for what failed on the way, once everything else is measured and written.
    """
    growths: list[Growth] = []
    failed: list[str] = []
    about: dict[str, Any] = {}
    for kind in options.databases:
        place = folder / kind
        place.mkdir(mode=0o755)
        with ExitStack() as stack:
            holder = opened(kind, place)
            stack.callback(holder.close)
            described = machine.described(options, [holder])
            about = {**described, "databases": [*about.get("databases", []), *described["databases"]]}
            server = ours(kind, holder.url(NAME), place)
            stack.callback(server.stop)
            scale = Scale(options, holder, server)
            try:
                scale.measure()
            except CantMeasure as error:
                failed.append(f"{kind}: {error}")
            growths += scale.growths.values()
        shutil.rmtree(place, ignore_errors=True)
    about |= {"size": options.size, "bytes": options.bytes, "calls": options.calls}
    results.written(
        NAME, "Cost as history grows", about, _cells(growths), {"growth": [asdict(growth) for growth in growths]}
    )
    if failed:
        raise CantMeasure("\n".join(failed))


class Scale:
    """One database as it grows."""

    def __init__(self, options: Options, holder: Holder, server: Server) -> None:
        self.options, self.holder, self.server = options, holder, server
        self.client = Client(server.url)
        self.growths: dict[str, Growth] = {}

    def measure(self) -> None:
        """All figures at all sizes."""
        history.make_tasks(self.client)
        sizes = sorted(
            {size for size in (history.MIN_SIZE, 10 * history.MIN_SIZE) if size < self.options.size}
            | {self.options.size}
        )
        for before, size in pairwise([0, *sizes]):
            self._grow(range(before, size))
            self._calls(size)
            self._large(size)
            self._make_tasks(size)
            self._export(size)
        self.client.close()

    def _note(self, operation: str, size: int, figure: float, unit: str = "ms", goal: float | None = GOAL) -> None:
        self.growths.setdefault(operation, Growth(operation, self.holder.kind, unit, goal)).at[size] = figure

    def _grow(self, numbers: range) -> None:
        _say(f"{self.holder.kind}: loading up to {numbers.stop}")
        self.server.reset_peak()
        began = time.monotonic()
        database = Database(self.holder.url(NAME))
        by_server = history.grow(self.client, database, numbers, self.options.bytes)
        database.close()
        rate = len(numbers) / (time.monotonic() - began)
        self._note("loading, with feedback on a half: completions a second", numbers.stop, rate, "/s", None)
        if by_server:
            self._note("memory of the server while loading", numbers.stop, self.server.peak(), "MB")
        self.holder.settle(NAME)
        history.check(self.client, numbers.stop)

    def _calls(self, size: int) -> None:
        """Every operation in turn, again and again; the median of each."""
        _say(f"{self.holder.kind}: measuring at {size}")
        operations = _operations(self.options.bytes)
        took: dict[str, list[float]] = {name: [] for name in operations}
        for turn in range(-min(_WARM_UP, self.options.calls), self.options.calls):
            for name, operation in operations.items():
                seconds = operation(self.client, f"{size}-{turn}")
                if turn >= 0:
                    took[name].append(seconds)
        for name, seconds_of in took.items():
            self._note(name, size, statistics.median(seconds_of) * 1000)
        if self.client.is_there(BATCH_PATH):
            batches = [_batch(self.client, self.options.bytes) for _ in range(21)]
            self._note(f"bulk ingest of {_SMALL_BATCH} rows", size, statistics.median(batches[1:]) * 1000)

    def _large(self, size: int) -> None:
        """Apart from the others, so that their lists hold no large rows."""
        body = bodies.completion(50_000, 1, history.UNWANTED_TAGS)
        took = [self.client.done("POST", "/api/v1/completions", body).seconds for _ in range(self.options.calls)]
        self._note("create 50 KB", size, statistics.median(took) * 1000)

    def _make_tasks(self, size: int) -> None:
        """Create tasks that match a third of all completions, while other clients go on writing."""
        expected = history.how_many_of_share_30(size)
        made, at_once, deep, others = [], [], [], []
        for turn in range(_TASKS_MADE):
            task_id = f"share-{size}-{turn}"
            with _Writing(self.server.url, self.options.bytes) as writing:
                body = history.task(task_id, ["share:30"])
                made.append(self.client.done("POST", "/api/v1/feedback_task", body).seconds)
                answer = self.client.done("GET", f"/api/v1/completions/ungraded?task_id={task_id}&limit=50")
                at_once.append(answer.seconds)
                listed = [row["id"] for row in answer.json()["completions"]]
                if listed != history.newest_of_share_30(size, 50):
                    raise CantMeasure(f"{task_id}: its list of ungraded completions is wrong just after its creation.")
                deep.append(self._until_filled(task_id, expected))
            others += writing.took
            self.client.done("PATCH", f"/api/v1/feedback_task/{task_id}", {"archived": True})
        self._note("make a task that wants 30 %", size, statistics.median(made) * 1000)
        self._note("its ungraded list at once", size, statistics.median(at_once) * 1000)
        self._note("until its ungraded list ends where it should", size, statistics.median(deep) * 1000, goal=None)
        self._note("create meanwhile, slowest", size, max(others) * 1000, goal=None)

    def _until_filled(self, task_id: str, expected: int) -> float:
        """Seconds until the end of the list is where it should be. Raises CantMeasure after a minute."""
        began = time.monotonic()
        path = f"/api/v1/completions/ungraded?task_id={task_id}&limit=50&offset={expected - 1}"
        while len(self.client.done("GET", path).json()["completions"]) != 1:
            if time.monotonic() > began + 60:
                raise CantMeasure(f"{task_id}: its ungraded list has no end after {expected}.")
            time.sleep(0.2)
        return time.monotonic() - began

    def _export(self, size: int) -> None:
        _say(f"{self.holder.kind}: exporting {size}")
        self.server.reset_peak()
        read, seconds = self.client.streamed("/api/v1/export")
        if read < size * self.options.bytes // 2:
            raise CantMeasure(f"The export of {size} completions has only {read} bytes.")
        self._note("memory of the server while exporting", size, self.server.peak(), "MB")
        self._note("export: MB a second", size, read / 1e6 / seconds, "MB/s", None)


class _Writing:
    """Another client, which creates completions one after the other in a thread with a connection of its own."""

    def __init__(self, url: str, size: int) -> None:
        self.took: list[float] = []
        self._failed: CantMeasure | None = None
        self._enough = Event()
        self._thread = Thread(target=self._write, args=(url, size))

    def __enter__(self) -> "_Writing":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()
        if self._failed or not self.took:
            raise CantMeasure(f"Writing failed while a task was being made: {self._failed or 'nothing was answered'}")

    def _write(self, url: str, size: int) -> None:
        client = Client(url)
        body = bodies.completion(size, 1, history.UNWANTED_TAGS)
        try:
            while not self._enough.is_set():
                self.took.append(client.done("POST", "/api/v1/completions", body).seconds)
        except CantMeasure as error:
            self._failed = error
        client.close()


def _operations(size: int) -> dict[str, Operation]:
    """Each is called with a word that no other call has; those of one word come in this order."""
    started, finished = bodies.log_rows(size, 1)
    started, finished = {**started, "tags": history.UNWANTED_TAGS}, {**finished, "tags": history.UNWANTED_TAGS}

    def create(client: Client, word: str) -> float:
        body = bodies.completion(size, 1, [*history.UNWANTED_TAGS, f"own:{word}"])
        return client.done("POST", "/api/v1/completions", body).seconds

    def start(client: Client, word: str) -> float:
        return client.done("POST", f"/api/completions/row-{word}", started).seconds

    def finish(client: Client, word: str) -> float:
        return client.done("POST", f"/api/completions/row-{word}", finished).seconds

    def upload(client: Client, selector: list[str], expected: int) -> float:
        body = {"task_id": "measured", "json_values": VALUES, "completion_tags_selector": selector}
        answer = client.done("POST", "/api/v1/feedback", body)
        if len(matched := answer.json()["matched_completion_ids"]) != expected:
            raise CantMeasure(f"{selector} matched {len(matched)} completions, not {expected}.")
        return answer.seconds

    def too_many(client: Client, _word: str) -> float:
        body = {"task_id": "measured", "json_values": VALUES, "completion_tags_selector": ["half:a"]}
        answer = client.call("POST", "/api/v1/feedback", body)
        if answer.status != 422:
            raise CantMeasure(f"A selector that matches half of all was answered {answer.status}.")
        return answer.seconds

    def listed(path: str, key: str, expected: int) -> Operation:
        def ask(client: Client, _word: str) -> float:
            answer = client.done("GET", path)
            if len(rows := answer.json()[key]) != expected:
                raise CantMeasure(f"{path} has {len(rows)} rows, not {expected}.")
            return answer.seconds

        return ask

    return {
        "create 2.5 KB": create,
        "log row started": start,
        "log row finished": finish,
        "feedback by a unique tag": lambda client, word: upload(client, [f"own:{word}"], 1),
        "feedback by two tags of a half each, ten have both": lambda client, _: upload(
            client, ["half:a", "half:b"], history.BOTH_HALVES
        ),
        "feedback that matches far too many, refused": too_many,
        "list 50 feedback": listed("/api/v1/feedback?limit=50", "feedback", 50),
        "list 50 completions": listed("/api/v1/completions?limit=50", "completions", 50),
        "list 50 ungraded": listed("/api/v1/completions/ungraded?limit=50", "completions", history.LEFT_UNGRADED),
        "ungraded of a task, all graded": listed("/api/v1/completions/ungraded?task_id=task-3", "completions", 0),
    }


def _batch(client: Client, size: int) -> float:
    lines = [bodies.completion(size, row, history.UNWANTED_TAGS) for row in range(_SMALL_BATCH)]
    body = "".join(f"{text}\n" for text in map(bodies.text, lines))
    return client.done("POST", BATCH_PATH, body, media_type="application/x-ndjson").seconds


def _cells(growths: Sequence[Growth]) -> list[Sequence[str]]:
    sizes = sorted({size for growth in growths for size in growth.at})
    head = ["operation", "database", *(number(size, 0) for size in sizes), "unit", "factor", "goal", ""]
    return [head, *(_row(growth, sizes) for growth in growths)]


def _row(growth: Growth, sizes: Sequence[int]) -> list[str]:
    met = ""
    if growth.goal is not None and growth.factor is not None:
        met = "met" if growth.factor <= growth.goal else "missed"
    return [
        growth.operation,
        growth.database,
        *(number(growth.at.get(size)) for size in sizes),
        growth.unit,
        number(growth.factor),
        "" if growth.goal is None else f"≤ {growth.goal}",
        met,
    ]


def _say(what: str) -> None:
    print(f"  … {what}", flush=True)
