"""Creates, changes and lists feedback tasks (docs/api.md, "Task schemas").

A task says which feedback an organization wants, and on which completions.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from log10_server import store
from log10_server.clock import uuid7
from log10_server.db.transaction import Tx
from log10_server.errors import Conflict, Invalid, NotFound
from log10_server.runtime.context import Context
from log10_server.services import ungraded_index
from log10_server.store.feedback_tasks import FeedbackTaskRow
from log10_server.strict_json import canonical, value, written


class NewFeedbackTask(NamedTuple):
    """A task to create. If `id` is None, the task gets a new id.

    If the digest is not set, it is computed inside the transaction.
    """

    id: str | None
    name: str
    instruction: str
    json_schema: str
    selector: tuple[str, ...]
    content_digest: str | None = None


class FeedbackTaskChanges(NamedTuple):
    """Changes to a task. A field that is None is not changed."""

    name: str | None = None
    instruction: str | None = None
    selector: tuple[str, ...] | None = None
    archived: bool | None = None
    json_schema: str | None = None


async def create_task(context: Context, new: NewFeedbackTask) -> FeedbackTaskRow:
    """Check the schema of a task, and create the task.

    Older completions that match its selector become ungraded in the background. Raises Invalid if the schema can't be
    the schema of a task, and the errors of `create`.
    """
    await context.runtime.validators.check(new.json_schema, context.organization.id)
    content_digest = await context.compute(lambda: digest(new))
    new = new._replace(content_digest=content_digest)
    row = await context.write(lambda tx: create(tx, new))
    context.runtime.backfill.wake()
    return row


async def change_task(context: Context, task_id: str, changes: FeedbackTaskChanges) -> FeedbackTaskRow:
    """Change a task. Raises the errors of `change`.

    In the background older completions become ungraded, or stop being ungraded, as the new selector requires.
    """
    row = await context.write(lambda tx: change(tx, task_id, changes))
    context.runtime.backfill.wake()
    return row


async def validate(context: Context, task_id: str, json_values: str) -> None:
    """Check values, given as JSON text, against the task's schema.

    Raises Invalid if the task is unknown, or its schema refuses the values.
    """
    schemas, organization_id = context.runtime.schemas, context.organization.id
    json_schema = schemas.find(organization_id, task_id)
    if json_schema is None:
        json_schema = await context.look_up(lambda tx: get_referenced(tx, task_id).json_schema)
        schemas.store(organization_id, task_id, json_schema)
    await context.runtime.validators.validate(json_schema, json_values, organization_id)


def create(tx: Tx, new: NewFeedbackTask) -> FeedbackTaskRow:
    """Create the task. If one was created under the same id with the same content, return that task.

    The caller has checked the schema. Raises Conflict if a task with this id has other content.
    """
    return ensure(tx, new_row(tx, new, tx.now()))[0]


def new_row(tx: Tx, new: NewFeedbackTask, created_at: int) -> FeedbackTaskRow:
    """Build the row of a task that is created at `created_at`. This stores nothing."""
    return FeedbackTaskRow(
        organization_id=tx.organization_id,
        id=new.id or uuid7(created_at),
        created_at=created_at,
        name=new.name,
        instruction=new.instruction,
        json_schema=new.json_schema,
        selector=_selector_text(new.selector),
        archived=False,
        content_digest=new.content_digest or digest(new),
    )


def ensure(tx: Tx, row: FeedbackTaskRow) -> tuple[FeedbackTaskRow, bool]:
    """Store the task unless a task with the same id and content is stored.

    Returns the stored row, and whether it is new. Raises Conflict if a task with this id has other content.
    """
    stored = store.feedback_tasks.find(tx, row.id)
    if stored is not None:
        if stored.content_digest != row.content_digest:
            raise Conflict(f"The feedback task {row.id!r} already exists, with other content.")
        return stored, False
    store.feedback_tasks.add(tx, row)
    _replace_selector(tx, row, value(row.selector))
    return row, True


def change(tx: Tx, task_id: str, changes: FeedbackTaskChanges) -> FeedbackTaskRow:
    """Change a task and return its new row.

    Raises NotFound, and Conflict if `json_schema` differs from the stored one, because the schema of a task never
    changes.
    """
    stored = get(tx, task_id)
    if changes.json_schema is not None and canonical(changes.json_schema) != canonical(stored.json_schema):
        raise Conflict(
            "The `json_schema` of a feedback task never changes, because feedback was validated against it. Create another task.",
            code="schema_is_fixed",
        )
    row = stored._replace(
        name=stored.name if changes.name is None else changes.name,
        instruction=stored.instruction if changes.instruction is None else changes.instruction,
        selector=stored.selector if changes.selector is None else _selector_text(changes.selector),
        archived=stored.archived if changes.archived is None else changes.archived,
    )
    if row != stored:
        store.feedback_tasks.replace(tx, row)
    if changes.selector is not None and row.selector != stored.selector:
        _replace_selector(tx, row, changes.selector)
    elif row.archived != stored.archived:
        ungraded_index.start_backfill(tx, row)
    return row


def get(tx: Tx, task_id: str) -> FeedbackTaskRow:
    """Return the task with this id. Raises NotFound."""
    row = store.feedback_tasks.find(tx, task_id)
    if row is None:
        raise NotFound(f"There is no feedback task {task_id!r}.")
    return row


def get_referenced(tx: Tx, task_id: str) -> FeedbackTaskRow:
    """Return the task that the body of a request refers to.

    If there is none, this raises Invalid at `/task_id` and not NotFound, because the error is in the body and not in
    the path.
    """
    row = store.feedback_tasks.find(tx, task_id)
    if row is None:
        raise unknown_task(task_id)
    return row


def unknown_task(task_id: str) -> Invalid:
    """Return the error for a body that refers to a task that does not exist."""
    return Invalid.at("/task_id", f"There is no feedback task {task_id!r}.", code="unknown_task")


def find_names(tx: Tx, task_ids: Sequence[str]) -> dict[str, str]:
    """Return the names of the tasks with these ids, by id. Ids of tasks that do not exist are left out."""
    return {task_id: row.name for task_id, row in store.feedback_tasks.find_many(tx, task_ids).items()}


def find_many(tx: Tx, task_ids: Sequence[str]) -> dict[str, FeedbackTaskRow]:
    """Return the tasks with these ids, by id. Ids of tasks that do not exist are left out."""
    return store.feedback_tasks.find_many(tx, task_ids)


def list_newest(tx: Tx, archived: bool | None, offset: int, limit: int) -> list[FeedbackTaskRow]:
    """List a page of tasks, newest first.

    If `archived` is None, archived and other tasks are listed; otherwise only the archived ones, or only the others.
    """
    return store.feedback_tasks.list_page(tx, archived, offset, limit)


def count(tx: Tx, archived: bool | None) -> int:
    """Count the tasks on all pages of `list_newest`."""
    return store.feedback_tasks.count(tx, archived)


def digest(new: NewFeedbackTask) -> str:
    """Return a digest of the content. Two uploads with the same id are the same task if their digests are equal.

    The digest does not depend on how the JSON of the schema is written, nor on the order or repetition of the
    selector's tags.
    """
    content = written([new.name, new.instruction, canonical(new.json_schema), sorted(set(new.selector))])
    return sha256(content.encode()).hexdigest()


def _replace_selector(tx: Tx, row: FeedbackTaskRow, selector: Sequence[str]) -> None:
    """Store the selector's tags in the index, and start to look for the completions that have all of them."""
    store.feedback_tasks.replace_selector_tags(tx, row.id, store.tags.ensure(tx, selector).values())
    ungraded_index.start_backfill(tx, row)


def _selector_text(selector: Sequence[str]) -> str:
    return written(list(dict.fromkeys(selector)))
