"""How long each request takes, one client at a time: the median, for each size of the history."""

import statistics
import time
from collections.abc import Callable

from benchmarks import bodies, history
from benchmarks.cases import BATCH_PATH, VALUES
from benchmarks.client import Client
from benchmarks.figures import FLAT, Goal, at_most
from benchmarks.options import CantMeasure
from benchmarks.questions import Known, Question, questions
from benchmarks.stage import Stage

PART = "request"
_BATCH = 100
_SECONDS = 1.5  # after which a request is not repeated any more
_LEAST_CALLS = 5
_WARM_UP = 3

Operation = Callable[[Client, int], float]  # called with a number that no other call has; returns seconds


def measure(stage: Stage) -> None:
    """Each request in turn, as often as `CALLS` says, but no longer than a second and a half."""
    stage.say("requests")
    client = stage.client()
    known = Known(stage.size, history.feedback_count(stage.size), lambda name: _tag_id(client, name))
    timed: list[tuple[str, Operation, Goal]] = [
        (question.name, _asking(question), question.goal) for question in questions(known)
    ]
    for name, operation, goal in [*timed, *_writes()]:
        if stage.wants(PART, name):
            took, failed = _times(client, operation, stage.options.calls)
            note = failed or f"{len(took)} calls"
            stage.note(PART, name, statistics.median(took) * 1000 if took else float("inf"), "ms", goal, note)
    client.close()


def _times(client: Client, operation: Operation, calls: int) -> tuple[list[float], str]:
    """How long the calls took, or why one of them failed: then none of them counts."""
    took: list[float] = []
    started = time.monotonic()
    try:
        for turn in range(-_WARM_UP, calls):
            seconds = operation(client, time.time_ns())
            if turn >= 0:
                took.append(seconds)
            is_slow = time.monotonic() > started + _SECONDS
            if is_slow and (len(took) >= _LEAST_CALLS or (took and seconds > _SECONDS)):
                break
    except CantMeasure as error:
        return [], str(error).partition("\n")[0][:150]
    return took, ""


def _asking(question: Question) -> Operation:
    method = "GET" if question.body is None else "POST"

    def ask(client: Client, _number: int) -> float:
        answer = client.call(method, question.path, question.body)
        if answer.status != question.status:
            raise CantMeasure(f"answered {answer.status}: {answer.body[:80]!r}")
        if question.rows is not None:
            key, expected = question.rows
            if (count := len(answer.json()[key])) != expected:
                raise CantMeasure(f"{count} rows, not {expected}")
        if question.path == "/graphql" and "errors" in answer.json():
            raise CantMeasure(f"answered {answer.body[:100]!r}")
        return answer.seconds

    return ask


def _tag_id(client: Client, name: str) -> str:
    for tag in client.done("GET", f"/api/tags/search?query={name}").json()["data"]:
        if tag["name"] == name:
            return str(tag["id"])
    raise CantMeasure(f"The search of tags does not show {name}.")


def _writes() -> list[tuple[str, Operation, Goal]]:
    """The requests that write."""

    def create(client: Client, number: int) -> float:
        return client.done("POST", "/api/v1/completions", bodies.completion(2500, number)).seconds

    def create_large(client: Client, number: int) -> float:
        return client.done("POST", "/api/v1/completions", bodies.completion(50_000, number)).seconds

    def log(client: Client, number: int) -> float:
        started, finished = bodies.log_rows(2500, 1)
        about = {"tags": bodies.tags(number), "session_id": bodies.session_id(number)}
        path = f"/api/completions/row-{number}"
        first = client.done("POST", path, {**started, **about}).seconds
        return first + client.done("POST", path, {**finished, **about}).seconds

    def batch(client: Client, number: int) -> float:
        rows = (bodies.completion(2500, number + row) for row in range(_BATCH))
        body = "".join(f"{bodies.text(row)}\n" for row in rows)
        return client.done("POST", BATCH_PATH, body, media_type="application/x-ndjson").seconds

    def upload(selector: Callable[[int], list[str]], matches: int) -> Operation:
        def send(client: Client, number: int) -> float:
            body = {
                "task_id": history.MEASURED_TASK,
                "json_values": VALUES,
                "completion_tags_selector": selector(number),
            }
            answer = client.done("POST", "/api/v1/feedback", body)
            if len(matched := answer.json()["matched_completion_ids"]) != matches:
                raise CantMeasure(f"matched {len(matched)} completions, not {matches}")
            return answer.seconds

        return send

    def refused(client: Client, _number: int) -> float:
        body = {"task_id": history.MEASURED_TASK, "json_values": VALUES, "completion_tags_selector": ["checked"]}
        answer = client.call("POST", "/api/v1/feedback", body)
        if answer.status != 422:
            raise CantMeasure(f"a selector that matches half of all was answered {answer.status}")
        return answer.seconds

    def make_task(client: Client, number: int) -> float:
        task = history.task(f"made-{number}", ["checked"])
        seconds = client.done("POST", "/api/v1/feedback_task", task).seconds
        client.done("PATCH", f"/api/v1/feedback_task/made-{number}", {"archived": True})
        return seconds

    def erase(client: Client, number: int) -> float:
        client.done("POST", f"/api/v1/completions/erased-{number}", bodies.completion(2500, number))
        return client.done("DELETE", f"/api/v1/completions/erased-{number}").seconds

    def own(number: int) -> list[str]:
        return [bodies.own_tag(number % history.MIN_SIZE)]

    return [
        ("create 2.5 KB", create, FLAT),
        ("create 50 KB", create_large, FLAT),
        ("log rows started and finished, both", log, FLAT),
        (f"batch of {_BATCH}", batch, FLAT),
        ("feedback by a tag of its own", upload(own, 1), FLAT),
        (
            "feedback by two tags of a half, ten have both",
            upload(lambda _: ["checked", "unchecked"], history.RARE),
            FLAT,
        ),
        ("feedback that matches far too many, refused", refused, FLAT),
        ("make a task that wants a half", make_task, at_most(150)),
        ("delete a completion", erase, FLAT),
    ]
