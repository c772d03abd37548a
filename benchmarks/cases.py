"""The cases that are measured: for each row of the table the requests, the number of clients, and the goals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bodies
from benchmarks.databases import POSTGRES, SQLITE
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
    "completion_tags_selector": [bodies.COMMON_TAG],
}
VALUES = {"grade": 4, "note": "Names the right day."}
LISTS = ("/api/v1/feedback", "/api/v1/completions/ungraded", "/api/v1/completions")
BATCH_PATH = "/api/v1/completions/batch"
BATCH_ROWS = 500
BARE_MS = 0.26  # what the bare endpoint takes with one client on the machine for which the goals are stated
MAX_WRITTEN_KB = 30.0  # the goal for what SQLite writes to disk for each completion of 2.5 KB

COMPLETIONS = "SELECT count(*) FROM completion"
_LOG_ROWS = f"SELECT ({COMPLETIONS}) + ({COMPLETIONS} WHERE status = 'finished')"
_FEEDBACK = "SELECT count(*) FROM feedback"


@dataclass(frozen=True)
class Case:
    """One row of the table.

    `goals` has the least share of the limit for each kind of database. `script` is called with a number that is
    different for each run. `stored` is SQL that counts the rows of which one request adds `each`.
    """

    name: str
    goals: Mapping[str, float]
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

    return [Case(f"list 50 {names[path]}", both(0.5), 32, script(path)) for path in LISTS]


def both(goal: float) -> dict[str, float]:
    """The same goal on both databases."""
    return {SQLITE: goal, POSTGRES: goal}


def creates(folder: Path, *, at_a_million: bool = False) -> list[Case]:
    """Single creates. With a long history the goals of 32 clients are lower."""
    small, large = created(folder, 2500), created(folder, 50_000)
    goals = both(0.5) if at_a_million else {SQLITE: 0.6, POSTGRES: 0.55}
    return [
        Case("create 2.5 KB, 32 clients", goals, 32, small, COMPLETIONS),
        Case("create 2.5 KB, 8 clients", {SQLITE: 0.5, POSTGRES: 0.4}, 8, small, COMPLETIONS),
        Case("create 50 KB, 32 clients", {SQLITE: 0.45, POSTGRES: 0.4}, 32, large, COMPLETIONS),
    ]


def one_client(folder: Path) -> Case:
    """One client; its goals are milliseconds, on a machine where the bare endpoint takes `BARE_MS`."""
    name = "create 2.5 KB, one client, p50"
    return Case(name, {SQLITE: 0.9, POSTGRES: 1.5}, 1, created(folder, 2500), COMPLETIONS)


def writes(folder: Path) -> list[Case]:
    """Writes of other kinds. Their bodies are written into files in `folder`."""
    rows = [bodies.log_rows(2500, number) for number in range(500)]
    started = str(bodies.write_lines(folder / "started.jsonl", (row for row, _ in rows)))
    finished = str(bodies.write_lines(folder / "finished.jsonl", (row for _, row in rows)))
    graded = str(bodies.write_lines(folder / "feedback.jsonl", map(feedback_on, range(PREPARED))))

    def logged(run: int) -> LoadScript:
        return LoadScript("log_rows.lua", ("/api/completions/", started, finished, str(run)))

    def uploaded(run: int) -> LoadScript:
        return LoadScript("post.lua", ("/api/v1/feedback", graded, str(run)))

    return [
        Case("log started + finished, per row", both(0.5), 32, logged, _LOG_ROWS),
        Case("feedback by a unique tag", both(0.35), 32, uploaded, _FEEDBACK),
    ]


def created(folder: Path, size: int) -> Callable[[int], LoadScript]:
    """Creates a completion of `size` bytes with a new session and a new tag in each request."""
    count = 1000 if size < 10_000 else 100
    values = (bodies.marked_completion(size, number) for number in range(count))
    file = str(bodies.write_lines(folder / f"completions-{size}.jsonl", values))
    return lambda run: LoadScript("post.lua", ("/api/v1/completions", file, str(run)))


def batches(folder: Path, size: int) -> Case:
    """Five hundred completions a request, each as it would come alone."""
    files = []
    for number in range(4):
        rows = range(number * BATCH_ROWS, (number + 1) * BATCH_ROWS)
        values = (bodies.marked_completion(size, row) for row in rows)
        files.append(str(bodies.write_lines(folder / f"batch-{number}.jsonl", values)))

    def script(run: int) -> LoadScript:
        return LoadScript("batch.lua", (BATCH_PATH, str(run), *files))

    return Case("bulk ingest, rows", both(0.5), 2, script, COMPLETIONS, each=BATCH_ROWS)


def feedback_on(number: int) -> dict[str, object]:
    """Feedback on the prepared completion of this number, found by the tag that only it has."""
    selector = [bodies.own_tag(number)]
    return {"task_id": TASK_ID, "json_values": VALUES, "completion_tags_selector": selector, "comment": ""}


def prepare(database: Database) -> None:
    """Completions, all of which match the task, and feedback on the oldest hundred."""
    load_completions(database, ORGANIZATION, range(PREPARED), 2500, lambda _number: {})
    load_feedback(database, ORGANIZATION, ((number, TASK_ID, bodies.text(VALUES)) for number in range(100)))
