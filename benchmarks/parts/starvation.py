"""Cheap calls while four of the heaviest reads run at once."""

import time
from collections.abc import Sequence

from benchmarks import bodies, history
from benchmarks.crowds import Clients, Crowd, Request, get, post
from benchmarks.figures import at_most
from benchmarks.parts.exports import MAX_MB
from benchmarks.stage import Stage

PART = "starvation"
_SECONDS = 10.0
_P99_MS = at_most(100)
_NONE = at_most(0)
_GRAPHQL = '{organization{feedbackV2(limit:10000,filter:"ok = true"){nodes{id jsonValues completions{id}}}}}'


def measure(stage: Stage) -> None:
    """Cheap calls of several clients, with nothing else and then with each mix of heavy reads."""
    for name, heavy in {"nothing else": [], **_heavy_reads()}.items():
        if stage.wants(PART, name):
            _measure(stage, name, heavy)


def _measure(stage: Stage, name: str, heavy: Sequence[Request]) -> None:
    stage.say(f"cheap calls with {name}")
    stage.server.reset_peak()
    before = stage.server.resident()
    crowds = [Clients(f"heavy {number}", 1, [request]) for number, request in enumerate(heavy)]
    with Crowd(stage.server.url, crowds) as heavy_crowd:
        time.sleep(0.5 if heavy else 0)
        with Crowd(stage.server.url, _cheap()) as cheap_crowd:
            time.sleep(_SECONDS)
    for call, answers in cheap_crowd.results.items():
        note = f"p50 {answers.p50:.1f} ms, slowest {answers.max:.0f} ms; {answers}"
        stage.note(PART, f"{name}: {call}, p99", answers.p99 if answers.good else float("inf"), "ms", _P99_MS, note)
    refused = sum(answers.bad for answers in cheap_crowd.results.values())
    stage.note(PART, f"{name}: cheap calls that were not answered 2xx", refused, "", _NONE)
    note = "; ".join(f"{request.path.partition('?')[0]}: {heavy_crowd.results[group.name]}"
                     for request, group in zip(heavy, crowds, strict=True))  # fmt: skip
    stage.note(PART, f"{name}: memory", stage.server.peak(), "MB", at_most(MAX_MB), f"{before:.0f} MB before. {note}")


def _heavy_reads() -> dict[str, list[Request]]:
    part = "created_from=2025-01-01T08:00:00Z&created_to=2025-12-31T08:00:00Z"
    tags = f"tag={bodies.COMMON_TAG}&tag=checked"
    return {
        "four usage by model": [get("/api/v1/usage?group_by=model")] * 4,
        "four usage of two common tags by tag": [get(f"/api/v1/usage?group_by=tag&{tags}&{part}")] * 4,
        "four of different kinds": [
            get(f"/api/v1/usage?group_by=tag&{tags}&{part}"),
            get("/api/v1/export"),
            post("/graphql", {"query": _GRAPHQL}),
            get(f"/api/v1/export/training?task_id=task-{history.GRADED_USER}"),
        ],
    }


def _cheap() -> list[Clients]:
    create = post("/api/v1/completions", bodies.marked_completion(2500, 1))
    each = {
        "list of one completion": [get("/api/v1/completions?limit=1")],
        "ungraded list": [get("/api/v1/completions/ungraded?limit=10")],
        "create": [create],
        "new task, and feedback with its schema": new_schema("^[a-z]+$", "word"),
        "health": [get("/healthz")],
    }
    return [Clients(name, 2, requests, interval=0.1) for name, requests in each.items()]


def new_schema(pattern: str, value: str, unmatched: bool = True) -> list[Request]:
    """Creates a task whose schema no process has seen, and uploads feedback with a value that the schema checks."""
    mark = bodies.OWN_TAG_MARK
    schema = {"$comment": mark, "type": "object", "properties": {"word": {"type": "string", "pattern": pattern}}}
    task = {**history.task(f"schema-{mark}", [history.UNUSED_TAG]), "json_schema": schema}
    feedback = {
        "task_id": f"schema-{mark}",
        "json_values": {"word": value},
        "completion_tags_selector": [history.UNUSED_TAG],
        "allow_unmatched_feedback": unmatched,
    }
    return [post("/api/v1/feedback_task", task), post("/api/v1/feedback", feedback)]
