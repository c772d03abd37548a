"""The long history that `scale` builds: its tags, tasks and feedback. All of it is computed from the completions' numbers.

A completion has three tags: `half:a` or `half:b`, `share:30` or `share:70` (on 30 % and 70 % of all), and one of 200
users. Every second user has a task that wants the user's completions, so half of all completions need feedback. All of
these have feedback, except for fifty old ones.
"""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from benchmarks import bodies
from benchmarks.cases import BATCH_PATH, BATCH_ROWS, TASK
from benchmarks.client import Client
from benchmarks.loading import completion_id, load_completions, load_feedback
from benchmarks.options import CantMeasure
from benchmarks.servers import ORGANIZATION
from log10_server.db.database import Database

MIN_SIZE = 10_000
USERS = 200
TASKS = 100
LEFT_UNGRADED = 50
BOTH_HALVES = 10
# The tags of completions that are created while measuring. No task wants them.
UNWANTED_TAGS = ("half:a", "share:70", "user:199")

_UPLOADS_AT_ONCE = 2
_VALUES = '{"grade":4,"note":"Names the right day."}'


def tags(number: int) -> list[str]:
    halves = ["half:b"] if number % 2 else ["half:a"]
    if number < MIN_SIZE and number % (MIN_SIZE // BOTH_HALVES) == 0:
        halves.append("half:b")
    return [*halves, "share:30" if is_of_share_30(number) else "share:70", f"user:{number % USERS}"]


def is_of_share_30(number: int) -> bool:
    return number % 10 < 3


def make_tasks(client: Client) -> None:
    """The tasks of the users, and one that matches no completion, for feedback while measuring."""
    for user in range(TASKS):
        client.done("POST", "/api/v1/feedback_task", task(f"task-{user}", [f"user:{user}"]))
    client.done("POST", "/api/v1/feedback_task", task("measured", ["nothing has this"]))


def task(task_id: str, selector: list[str]) -> dict[str, Any]:
    """The body that creates a task for the completions with these tags."""
    return {**TASK, "id": task_id, "completion_tags_selector": selector}


def grow(client: Client, database: Database, numbers: range, size: int) -> bool:
    """Load the completions of these numbers, and the feedback on them. Whether the server itself took them in."""
    by_server = client.is_there(BATCH_PATH)
    if by_server:
        _upload(client.url, numbers, size)
    else:
        load_completions(database, ORGANIZATION, numbers, size, tags)
    load_feedback(database, ORGANIZATION, graded(numbers), _VALUES)
    return by_server


def check(client: Client, size: int) -> None:
    """Look at a sample by the API. Raises CantMeasure when something is not as it was meant."""
    for number in range(0, size, max(1, size // 50)):
        completion = client.done("GET", f"/api/v1/completions/{completion_id(number)}").json()
        page = client.done(
            "GET", f"/api/v1/feedback?completion_id={completion_id(number)}&task_id=task-{number % USERS}"
        )
        count = len(page.json()["feedback"])
        if completion["tags"] != tags(number) or count != int(_is_graded(number)):
            raise CantMeasure(f"The loaded completion {number} has the tags {completion['tags']} and {count} feedback.")
    left = {row["id"] for row in client.done("GET", "/api/v1/completions/ungraded?limit=1000").json()["completions"]}
    if left != {completion_id(number) for number in range(MIN_SIZE) if _is_left(number)}:
        raise CantMeasure(f"What is left ungraded is not what was meant: {len(left)}.")


def _upload(url: str, numbers: range, size: int) -> None:
    """Two batches are on their way at once; the last comes alone, so that what is newest is in the order of numbers."""
    texts = [tuple(map(bodies.text, bodies.payloads(size, seed))) for seed in range(97)]

    def line(number: int) -> str:
        request, response = texts[number % len(texts)]
        members = f'"id":"{completion_id(number)}","tags":{bodies.text(tags(number))},"kind":"chat","duration":1.25'
        return f'{{{members},"request":{request},"response":{response}}}\n'

    def send(clients: SimpleQueue[Client], some: range) -> None:
        client = clients.get()
        try:
            client.done("POST", BATCH_PATH, "".join(map(line, some)), media_type="application/x-ndjson")
        finally:
            clients.put(client)

    free: SimpleQueue[Client] = SimpleQueue()
    for _ in range(_UPLOADS_AT_ONCE):
        free.put(Client(url))
    *batches, last = [numbers[first : first + BATCH_ROWS] for first in range(0, len(numbers), BATCH_ROWS)]
    with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as threads:
        for _ in threads.map(lambda some: send(free, some), batches):
            pass
    send(free, last)
    for _ in range(_UPLOADS_AT_ONCE):
        free.get().close()


def graded(numbers: range) -> Iterator[tuple[int, str]]:
    """The loaded completions that feedback is about, each with its task."""
    return ((number, f"task-{number % USERS}") for number in numbers if _is_graded(number))


def _is_graded(number: int) -> bool:
    return number % USERS < TASKS and not _is_left(number)


def _is_left(number: int) -> bool:
    return number < MIN_SIZE and number % USERS == 17


def newest_of_share_30(size: int, count: int) -> list[str]:
    """The ids of those that were loaded last, the newest first."""
    return [completion_id(number) for number in itertools.islice(filter(is_of_share_30, reversed(range(size))), count)]


def how_many_of_share_30(size: int) -> int:
    return size // 10 * 3 + min(size % 10, 3)
