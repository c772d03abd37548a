"""The slowest create of one client while something long is done: no transaction may hold the write lock for long."""

import time
from collections.abc import Callable

from benchmarks import bodies, history
from benchmarks.cases import BATCH_PATH, BATCH_ROWS
from benchmarks.client import Client
from benchmarks.crowds import Clients, Crowd, post
from benchmarks.figures import at_most
from benchmarks.options import CantMeasure
from benchmarks.stage import Stage

PART = "slowest create"
_GOAL = at_most(250)
_TASK = "meanwhile"
_IDLE_WITHIN = 300.0


def measure(stage: Stage) -> None:
    """Each of the long writes in turn. What it leaves to be done afterwards is waited for, and belongs to it."""
    chosen = {name: do for name, do in _long_writes().items() if stage.wants(PART, name)}
    if not chosen:
        return
    client = stage.client()
    client.done("POST", "/api/v1/feedback_task", history.task(_TASK, [history.UNUSED_TAG]))
    creating = Clients("create", 1, [post("/api/v1/completions", bodies.marked_completion(2500, 1))])
    for name, do in chosen.items():
        stage.say(f"creates during: {name}")
        with Crowd(stage.server.url, [creating]) as crowd:
            time.sleep(0.5)
            began = time.monotonic()
            do(client)
            seconds = time.monotonic() - began
            time.sleep(2)  # rows are filled in by a job in the background
        creates = crowd.results["create"]
        if creates.bad:
            raise CantMeasure(f"Creates during {name} were answered {creates}.")
        note = f"p50 {creates.p50:.1f} ms; it took {seconds:.2f} s itself"
        stage.note(PART, f"during: {name}", creates.max, "ms", _GOAL, note)
        stage.server.wait_until_idle(_IDLE_WITHIN)
    client.close()


def _long_writes() -> dict[str, Callable[[Client], None]]:
    """They run in this order: the task is archived while it wants a half of all completions."""

    def batch(client: Client) -> None:
        first = time.time_ns()
        numbers = range(first, first + BATCH_ROWS)
        body = "".join(f"{bodies.text(bodies.completion(2500, number))}\n" for number in numbers)
        client.done("POST", BATCH_PATH, body, media_type="application/x-ndjson")

    def batches(client: Client) -> None:
        for _ in range(20):
            batch(client)

    def change(client: Client, changes: dict[str, object]) -> None:
        client.done("PATCH", f"/api/v1/feedback_task/{_TASK}", changes)

    return {
        "nothing else": lambda _client: time.sleep(2),
        f"a batch of {BATCH_ROWS}": batch,
        f"20 batches of {BATCH_ROWS}": batches,
        "a selector comes to match a half": lambda client: change(client, {"completion_tags_selector": ["checked"]}),
        "a selector comes to match another half": lambda client: change(
            client, {"completion_tags_selector": ["unchecked"]}
        ),
        "a task that wants a half is archived": lambda client: change(client, {"archived": True}),
    }
