"""Feedback tasks: what feedback is wanted, and on which completions (docs/api.md, "Task schemas")."""

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
    """A task as it was asked for; its schema has been checked before."""

    id: str | None
    name: str
    instruction: str
    json_schema: str
    selector: tuple[str, ...]
    content_digest: str | None = None


class FeedbackTaskChanges(NamedTuple):
    """What a task should become; None leaves it."""

    name: str | None = None
    instruction: str | None = None
    selector: tuple[str, ...] | None = None
    archived: bool | None = None
    json_schema: str | None = None


async def create_task(context: Context, new: NewFeedbackTask) -> FeedbackTaskRow:
    """Make a task, after its schema was checked. Older completions that it wants are looked for in the background.

    Raises Invalid for what can't be a task's schema, and as `create`.
    """
    await context.runtime.validators.check(new.json_schema)
    row = await context.write(lambda tx: create(tx, new))
    context.runtime.backfill.wake()
    return row


async def change_task(context: Context, task_id: str, changes: FeedbackTaskChanges) -> FeedbackTaskRow:
    """Change a task. What that means for older completions is worked out in the background. Raises as `change`."""
    row = await context.write(lambda tx: change(tx, task_id, changes))
    context.runtime.backfill.wake()
    return row


async def validate(context: Context, task_id: str, json_values: str) -> None:
    """Raises Invalid for an unknown task, and for values that its schema refuses."""
    schemas, organization_id = context.runtime.schemas, context.organization.id
    json_schema = schemas.find(organization_id, task_id)
    if json_schema is None:
        json_schema = await context.read(lambda tx: get_referenced(tx, task_id).json_schema)
        schemas.store(organization_id, task_id, json_schema)
    await context.runtime.validators.validate(json_schema, json_values)


def create(tx: Tx, new: NewFeedbackTask) -> FeedbackTaskRow:
    """Make the task, or answer the one that was made with the same id and content.

    Raises Conflict when the id is taken by other content.
    """
    at = tx.now()
    return ensure(tx, new_row(tx, new, at))[0]


def new_row(tx: Tx, new: NewFeedbackTask, created_at: int) -> FeedbackTaskRow:
    """The row of a task that is made at this instant."""
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
    """What is stored under the task's id after `row`, and whether that is new.

    Raises Conflict when the id is taken by other content.
    """
    stored = store.feedback_tasks.find(tx, row.id)
    if stored is not None:
        if stored.content_digest != row.content_digest:
            raise Conflict(f"The feedback task {row.id!r} is there already, with other content.")
        return stored, False
    store.feedback_tasks.add(tx, row)
    _replace_selector(tx, row, value(row.selector))
    return row, True


def change(tx: Tx, task_id: str, changes: FeedbackTaskChanges) -> FeedbackTaskRow:
    """Raises NotFound; Conflict for another `json_schema`, which never changes."""
    stored = get(tx, task_id)
    if changes.json_schema is not None and canonical(changes.json_schema) != canonical(stored.json_schema):
        raise Conflict(
            "The `json_schema` of a feedback task never changes: feedback was checked against it. Make a new task.",
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
    """Raises NotFound."""
    row = store.feedback_tasks.find(tx, task_id)
    if row is None:
        raise NotFound(f"There is no feedback task {task_id!r}.")
    return row


def get_referenced(tx: Tx, task_id: str) -> FeedbackTaskRow:
    """The task that a body names. Raises Invalid at `/task_id`."""
    row = store.feedback_tasks.find(tx, task_id)
    if row is None:
        raise unknown_task(task_id)
    return row


def unknown_task(task_id: str) -> Invalid:
    return Invalid.at("/task_id", f"There is no feedback task {task_id!r}.", code="unknown_task")


def find_names(tx: Tx, task_ids: Sequence[str]) -> dict[str, str]:
    """What these tasks are called."""
    return {id: row.name for id, row in store.feedback_tasks.find_many(tx, task_ids).items()}


def find_many(tx: Tx, task_ids: Sequence[str]) -> dict[str, FeedbackTaskRow]:
    """Those of these tasks that are there."""
    return store.feedback_tasks.find_many(tx, task_ids)


def list_newest(tx: Tx, archived: bool | None, offset: int, limit: int) -> list[FeedbackTaskRow]:
    """Newest first; `archived` narrows to those that are, or are not."""
    return store.feedback_tasks.list_page(tx, archived, offset, limit)


def count(tx: Tx, archived: bool | None) -> int:
    return store.feedback_tasks.count(tx, archived)


def _replace_selector(tx: Tx, row: FeedbackTaskRow, selector: Sequence[str]) -> None:
    store.feedback_tasks.replace_selector_tags(tx, row.id, store.tags.ensure(tx, selector).values())
    ungraded_index.start_backfill(tx, row)


def _selector_text(selector: Sequence[str]) -> str:
    return written(list(dict.fromkeys(selector)))


def digest(new: NewFeedbackTask) -> str:
    """Of what makes two tasks the same: the schema as a JSON value, the selector as a set."""
    content = written([new.name, new.instruction, canonical(new.json_schema), sorted(set(new.selector))])
    return sha256(content.encode()).hexdigest()
