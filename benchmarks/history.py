"""The long history that `scale` builds in one organization. All of it is computed from the completions' numbers.

A completion has a session of its own and four tags: its own, one of a hundred users, `production`, and `checked` or
`unchecked`. It is of one of five models, and the completions are spread over a year. A few are rare: ten have a rare
model, ten are started and not finished, twenty share a session, ten have both `checked` and `unchecked`; 0.1 % have
failed, and 0.05 % are prompts. One of fifty tasks wants `production`, 49 want the tag of a user. Feedback is on 22 % of
all completions, and on all of user 49. A task that wants nothing that exists has three pieces of feedback.
"""

from collections.abc import Iterator
from typing import Any

from benchmarks import bodies
from benchmarks.cases import TASK
from benchmarks.client import Client
from benchmarks.databases import Holder
from benchmarks.loading import completion_id, load_completions, load_feedback
from benchmarks.options import CantMeasure
from benchmarks.servers import ORGANIZATION, OTHER_ORGANIZATION, OTHER_TOKEN, TOKEN
from log10_server.db import migrations
from log10_server.db.database import Database
from log10_server.services import feedback_tasks, organizations
from log10_server.services.feedback_tasks import NewFeedbackTask

MIN_SIZE = 10_000
TASKS = 50
RARE = 10  # completions with the rare model, that are started only, with both of two tags
SMALL_SESSION = 20
RARE_MODEL = "rare-model"
GRADED_USER = 49
RARE_FEEDBACK = 3
YEAR = 365 * 86_400 * 10**6
FIRST_DAY = 1_735_689_600 * 10**6  # 2025-01-01
UNUSED_TAG = "no completion has this"
# A task for feedback while measuring, and one with three pieces of feedback.
MEASURED_TASK, RARE_TASK = "measured", "rare-task"

_MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4", "gemini-2.0", "mistral-large")
_SCHEMA = '{"type":"object","properties":{"grade":{"type":"integer"},"note":{"type":"string"},"ok":{"type":"boolean"}}}'


def fields(number: int, size: int) -> dict[str, Any]:
    """What a completion of a history of this size has in place of the fields that all loaded completions have."""
    own = {
        "created_at": FIRST_DAY + number * (YEAR // size),
        "tags": tags(number, size),
        "session_id": "small-session" if number % (size // SMALL_SESSION) == 5 else bodies.session_id(number),
        "status": "finished",
        "duration": 0.2 + number * 7919 % 5000 / 1000,
        "kind": "prompt" if number % 2000 == 3 else "chat",
        "model": RARE_MODEL if number % (size // RARE) == 0 else _MODELS[number % len(_MODELS)],
    }
    if number % 1000 == 1:
        return {**own, "status": "failed", "failure_kind": "TimeoutError", "response": None}
    if number % (size // RARE) == 2:
        return {**own, "status": "started", "duration": None, "response": None}
    return own


def tags(number: int, size: int) -> list[str]:
    own, user, common = bodies.tags(number)
    both = ["checked", "unchecked"] if number % (size // RARE) == 7 else [("checked", "unchecked")[number % 2]]
    return [own, user, common, *both]


def load(holder: Holder, name: str, size: int, bytes_each: int) -> None:
    """Make a database with two organizations, a token for each, and the history in the first one."""
    database = Database(holder.url(name))
    try:
        migrations.migrate(database)
        with database.writing() as connection:
            for organization_id, token in ((ORGANIZATION, TOKEN), (OTHER_ORGANIZATION, OTHER_TOKEN)):
                organizations.create(connection, database.clock, organization_id)
                organizations.issue_token(connection, database.clock, organization_id, token)
        for task in tasks():
            database.write(ORGANIZATION, lambda tx, task=task: feedback_tasks.create(tx, task))  # type: ignore[misc]
        load_completions(database, ORGANIZATION, range(size), bytes_each, lambda number: fields(number, size))
        load_feedback(database, ORGANIZATION, feedback(size))
    finally:
        database.close()
    holder.settle(name)


def tasks() -> list[NewFeedbackTask]:
    """The tasks that are there before the completions."""
    selectors = {"task-0": bodies.COMMON_TAG} | {f"task-{user}": f"user-{user}" for user in range(1, TASKS)}
    selectors |= {MEASURED_TASK: UNUSED_TAG, RARE_TASK: UNUSED_TAG}
    return [NewFeedbackTask(task_id, task_id, "", _SCHEMA, (tag,)) for task_id, tag in selectors.items()]


def feedback(size: int) -> Iterator[tuple[int, str, str]]:
    """The feedback: the number of its completion, its task, and its values."""
    for count, number in enumerate(filter(is_graded, range(size))):
        values = f'{{"grade":{count * 31 % 1000},"note":"note {count % 977} of the reviewer","ok":{["true", "false"][count % 2]}}}'
        yield number, f"task-{number % bodies.USERS}", values
    for number in range(RARE_FEEDBACK):
        yield number * (size // RARE_FEEDBACK), RARE_TASK, '{"grade":5,"note":"rare","ok":true}'


def is_graded(number: int) -> bool:
    """Whether the completion has feedback for the task of its user."""
    user = number % bodies.USERS
    return 0 < user < GRADED_USER and number // bodies.USERS % 7 < 3 or user == GRADED_USER


def feedback_count(size: int) -> int:
    """How many pieces of feedback the history has."""
    return sum(map(is_graded, range(size))) + RARE_FEEDBACK


def task(task_id: str, selector: list[str]) -> dict[str, Any]:
    """The body that creates a task for the completions with these tags."""
    return {**TASK, "id": task_id, "completion_tags_selector": selector}


def check(client: Client, size: int) -> None:
    """Look at a sample by the API. Raises CantMeasure when something is not as it was meant."""
    for number in range(0, size, max(1, size // 50)):
        completion = client.done("GET", f"/api/v1/completions/{completion_id(number)}").json()
        path = f"/api/v1/feedback?completion_id={completion_id(number)}&task_id=task-{number % bodies.USERS}"
        count = len(client.done("GET", path).json()["feedback"])
        if completion["tags"] != tags(number, size) or count != int(is_graded(number)):
            raise CantMeasure(f"The loaded completion {number} has the tags {completion['tags']} and {count} feedback.")
