"""The cases that are measured: for each row of the table the requests, the number of clients, and the goal."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bodies
from benchmarks.loading import load_completions, load_feedback
from benchmarks.servers import ORGANIZATION
from benchmarks.wrk import LoadScript
from log10_server.db.database import Database

PREPARED = 20_000
TASK_ID = "answer-quality"
TASK = {
    "id": TASK_ID,
    "name": "Answer quality",
    "instruction": "How good is the answer?",
    "json_schema": {
        "type": "object",
        "properties": {"grade": {"type": "integer", "minimum": 1, "maximum": 5}, "note": {"type": "string"}},
        "required": ["grade"],
    },
    "completion_tags_selector": ["wanted"],
}
VALUES = {"grade": 4, "note": "Names the right day."}
LISTS = ("/api/v1/feedback", "/api/v1/completions/ungraded", "/api/v1/completions")
BATCH_PATH = "/api/v1/completions/batch"
BATCH_ROWS = 500

_COMPLETIONS = "SELECT count(*) FROM completion"
_LOG_ROWS = f"SELECT ({_COMPLETIONS}) + ({_COMPLETIONS} WHERE status = 'finished')"
_FEEDBACK = "SELECT count(*) FROM feedback"


@dataclass(frozen=True)
class Case:
    """One row of the table.

    `script` is called with a number that is different for each run. `stored` is SQL that counts the rows of which one
    request adds `each`.
    """

    name: str
    goal: float
    clients: int
    script: Callable[[int], LoadScript]
    stored: str | None = None
    each: int = 1


def lists() -> list[Case]:
    """The lists. They are measured first, while they contain only what was prepared."""
    names = {
        "/api/v1/feedback": "feedback",
        "/api/v1/completions/ungraded": "ungraded",
        "/api/v1/completions": "completions",
    }

    def script(path: str) -> Callable[[int], LoadScript]:
        return lambda _run: LoadScript("get.lua", path=f"{path}?limit=50")

    return [Case(f"list 50 {names[path]}", 0.5, 32, script(path)) for path in LISTS]


def writes(folder: Path) -> list[Case]:
    """Their bodies are written into files in `folder`."""
    create, large = created(folder, 2500), created(folder, 50_000)
    rows = [bodies.log_rows(2500, number) for number in range(500)]
    started = str(bodies.write_lines(folder / "started.jsonl", (row for row, _ in rows)))
    finished = str(bodies.write_lines(folder / "finished.jsonl", (row for _, row in rows)))
    graded = str(bodies.write_lines(folder / "feedback.jsonl", map(feedback_on, range(PREPARED))))

    def logged(run: int) -> LoadScript:
        return LoadScript("log_rows.lua", ("/api/completions/", started, finished, str(run)))

    def uploaded(_run: int) -> LoadScript:
        return LoadScript("post.lua", ("/api/v1/feedback", graded))

    return [
        Case("create 2.5 KB, 32 clients", 0.6, 32, create, _COMPLETIONS),
        Case("create 2.5 KB, 8 clients", 0.45, 8, create, _COMPLETIONS),
        Case("log started + finished, per row", 0.5, 32, logged, _LOG_ROWS),
        Case("create 50 KB", 0.5, 32, large, _COMPLETIONS),
        Case("feedback by a unique tag", 0.35, 32, uploaded, _FEEDBACK),
    ]


def created(folder: Path, size: int) -> Callable[[int], LoadScript]:
    """Creates a completion of `size` bytes with three tags."""
    count = bodies.USERS if size < 10_000 else bodies.USERS // 10
    values = (bodies.completion(size, number, bodies.common_tags(number)) for number in range(count))
    file = str(bodies.write_lines(folder / f"completions-{size}.jsonl", values))
    return lambda _run: LoadScript("post.lua", ("/api/v1/completions", file))


def batches(folder: Path, size: int) -> Case:
    """A thousand completions a request, each as it would come alone."""
    files = []
    for number in range(4):
        rows = range(number * BATCH_ROWS, (number + 1) * BATCH_ROWS)
        values = (bodies.completion(size, row, bodies.common_tags(row)) for row in rows)
        files.append(str(bodies.write_lines(folder / f"batch-{number}.jsonl", values)))
    script = LoadScript("batch.lua", (BATCH_PATH, *files))
    return Case("bulk ingest, rows", 0.5, 2, lambda _run: script, _COMPLETIONS, each=BATCH_ROWS)


def feedback_on(number: int) -> dict[str, object]:
    """Feedback on the prepared completion of this number, found by the tag that only it has."""
    return {"task_id": TASK_ID, "json_values": VALUES, "completion_tags_selector": [f"own:{number}"], "comment": ""}


def prepare(database: Database) -> None:
    """Completions with a tag of their own, all of which match the task, and feedback on the oldest hundred."""
    load_completions(database, ORGANIZATION, range(PREPARED), 2500, lambda number: ["prod", "wanted", f"own:{number}"])
    about = zip(range(100), itertools.repeat(TASK_ID), strict=False)
    load_feedback(database, ORGANIZATION, about, '{"grade":4,"note":"Names the right day."}')
