"""Feedback: uploaded, read, listed and deleted (docs/api.md, "Uploading feedback")."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from log10_server import store
from log10_server.clock import uuid7
from log10_server.db.transaction import Tx
from log10_server.errors import Conflict, Invalid, NotFound, Refusal
from log10_server.runtime.context import Actor, Context
from log10_server.services import feedback_tasks, selectors, summaries, ungraded_index
from log10_server.services.filters import Predicate
from log10_server.services.selectors import CompletionList, Selector
from log10_server.store.feedback import FeedbackCompletionRow, FeedbackRow, Filters, State
from log10_server.store.feedback_tasks import FeedbackTaskRow
from log10_server.strict_json import canonical, value, written

PROPOSED: Final = "proposed"
ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"


class NewFeedback(NamedTuple):
    """Feedback as it was asked for; its values have been validated before. The digest of much is made before, too."""

    id: str | None
    task_id: str
    json_values: str
    comment: str
    target: Selector | CompletionList
    state: State = ACCEPTED
    content_digest: str | None = None
    author: Actor | None = None


class StoredFeedback(NamedTuple):
    """Stored feedback, and the completions that it is about."""

    feedback: FeedbackRow
    completion_ids: list[str]


async def upload(context: Context, new: NewFeedback) -> StoredFeedback:
    """Store feedback on the completions that `new.target` names (docs/api.md, "Uploading feedback").

    The values are validated before the transaction begins, because a schema may take a second to check. A repeated
    upload is answered with what is stored, even when the schema would refuse it now: an import validates nothing.
    Raises Invalid for an unknown or archived task, values that its schema refuses, an unknown completion, no match, or
    more than `at_most` matches; Conflict for an id that is taken by other content.
    """
    new = new._replace(author=context.actor)
    try:
        await feedback_tasks.validate(context, new.task_id, new.json_values)
    except Invalid:
        stored = await context.read(lambda tx: find_repeated(tx, new)) if new.id is not None else None
        if stored is None:
            raise
        return stored
    return await context.record(record, new)


async def accept_proposal(context: Context, feedback_id: str, json_values: str | None) -> StoredFeedback:
    """Make a proposal feedback that grades, with other values when they are given; these are validated first.

    Raises as `accept`, and Invalid for values that the task's schema refuses.
    """
    if json_values is None:
        return await context.write(lambda tx: accept(tx, feedback_id))
    task_id = (await context.read(lambda tx: get(tx, feedback_id))).feedback.task_id
    await feedback_tasks.validate(context, task_id, json_values)
    return await context.write(lambda tx: accept(tx, feedback_id, json_values, task_id))


def record(tx: Tx, uploads: Sequence[NewFeedback]) -> list[StoredFeedback | Refusal]:
    """Store feedback, or answer what is stored under its id with the same content; a refusal for each that can't be.

    Refused are: Invalid for an unknown or archived task, an unknown completion, no match, or more than `at_most`;
    Conflict for an id that is taken by other content.
    """
    results: dict[int, StoredFeedback | Refusal] = {}
    pending = dict(enumerate(uploads))
    while pending:
        # A turn takes each id once; a repeat of it finds it stored in the next.
        turn: dict[str | int, int] = {}
        for number, new in pending.items():
            turn.setdefault(number if new.id is None else new.id, number)
        results |= _record_each_id_once(tx, {number: pending[number] for number in turn.values()})
        pending = {number: new for number, new in pending.items() if number not in results}
    return [results[number] for number in range(len(uploads))]


def find_repeated(tx: Tx, new: NewFeedback) -> StoredFeedback | None:
    """What is stored under its id, when that was uploaded with the same content."""
    row = store.feedback.find_many(tx, [new.id]).get(new.id) if new.id is not None else None
    if row is None or row.content_digest != (new.content_digest or digest(new)):
        return None
    return with_completion_ids(tx, [row])[0]


def get(tx: Tx, feedback_id: str) -> StoredFeedback:
    """Raises NotFound."""
    row = store.feedback.find_many(tx, [feedback_id]).get(feedback_id)
    if row is None:
        raise NotFound(f"There is no feedback {feedback_id!r}.")
    return with_completion_ids(tx, [row])[0]


def delete(tx: Tx, feedback_id: str) -> None:
    """What it graded is ungraded again, unless other feedback grades it. Raises NotFound."""
    given = get(tx, feedback_id)
    if not store.feedback.remove(tx, feedback_id):
        raise NotFound(f"There is no feedback {feedback_id!r}.")
    if given.feedback.state == ACCEPTED:
        ungraded_index.add_after_removed_feedback(tx, given.feedback.task_id, given.completion_ids)


def list_newest(tx: Tx, filters: Filters, offset: int, limit: int) -> list[StoredFeedback]:
    """A page of feedback that passes the filters, newest first."""
    return with_completion_ids(tx, store.feedback.list_page(tx, filters, offset, limit))


def list_satisfying(
    tx: Tx, filters: Filters, test: Predicate, offset: int, limit: int
) -> tuple[list[StoredFeedback], int]:
    """As `list_newest`, of feedback whose values satisfy `test`, and how many do in all.

    All values are read, some at a time: memory holds a page and no more.
    """
    wanted: list[str] = []
    total = 0
    for id, json_values in store.feedback.iterate_values(tx, filters):
        if test(value(json_values)):
            if offset <= total < offset + limit:
                wanted.append(id)
            total += 1
    rows = store.feedback.find_many(tx, wanted)
    return with_completion_ids(tx, [rows[id] for id in wanted if id in rows]), total


def accept(
    tx: Tx, feedback_id: str, json_values: str | None = None, validated_for_task_id: str | None = None
) -> StoredFeedback:
    """Make a proposal feedback that grades, with other values when they are given (validated before).

    Accepting once more changes nothing. Raises NotFound, for feedback of another task than they were `validated_for_task_id`
    too; Conflict for rejected feedback, and for other values of what was accepted before; Invalid for a task that is
    archived.
    """
    given = get(tx, feedback_id)
    row = given.feedback
    if validated_for_task_id is not None and row.task_id != validated_for_task_id:  # deleted and made anew meanwhile
        raise NotFound(f"There is no feedback {feedback_id!r} of the task {validated_for_task_id!r}.")
    edited = json_values is not None and canonical(json_values) != canonical(row.json_values)
    if row.state == REJECTED or (row.state == ACCEPTED and edited):
        raise _already_decided(row)
    if row.state == ACCEPTED:
        return given
    if (refusal := _task_refusal(feedback_tasks.get_referenced(tx, row.task_id), row.task_id)) is not None:
        raise refusal
    row = row._replace(state=ACCEPTED, json_values=row.json_values if json_values is None else json_values)
    store.feedback.replace(tx, row)
    ungraded_index.remove_graded(tx, row.task_id, sorted(given.completion_ids))
    return StoredFeedback(row, given.completion_ids)


def reject(tx: Tx, feedback_id: str) -> StoredFeedback:
    """Put a proposal aside; once more changes nothing. Raises NotFound; Conflict for what was accepted."""
    given = get(tx, feedback_id)
    if given.feedback.state == ACCEPTED:
        raise _already_decided(given.feedback)
    row = given.feedback._replace(state=REJECTED)
    store.feedback.replace(tx, row)
    return StoredFeedback(row, given.completion_ids)


def find_open_proposal(tx: Tx, completion_id: str) -> StoredFeedback | None:
    """The newest proposal on a completion that nobody has decided on."""
    found = store.feedback.list_page(tx, Filters(completion_id=completion_id, state=PROPOSED), 0, 1)
    return with_completion_ids(tx, found)[0] if found else None


def count(tx: Tx, filters: Filters) -> int:
    return store.feedback.count(tx, filters)


def with_completion_ids(tx: Tx, rows: Iterable[FeedbackRow]) -> list[StoredFeedback]:
    rows = list(rows)
    matched = store.feedback.list_completion_ids(tx, [row.id for row in rows])
    return [StoredFeedback(row, matched.get(row.id, [])) for row in rows]


def _record_each_id_once(tx: Tx, uploads: Mapping[int, NewFeedback]) -> dict[int, StoredFeedback | Refusal]:
    """As `record`, by number."""
    tasks = store.feedback_tasks.find_many(tx, {new.task_id for new in uploads.values()})
    stored = store.feedback.find_many(tx, {new.id for new in uploads.values() if new.id is not None})
    digests = {number: new.content_digest or digest(new) for number, new in uploads.items()}
    results: dict[int, StoredFeedback | Refusal] = {}
    repeats = {number: row for number, new in uploads.items() if (row := stored.get(new.id or "")) is not None}
    for number, given in zip(repeats, with_completion_ids(tx, repeats.values()), strict=True):
        same = given.feedback.content_digest == digests[number]
        results[number] = given if same else _id_taken(given.feedback.id)
    for number, new in uploads.items():
        if number not in results and (refusal := _task_refusal(tasks.get(new.task_id), new.task_id)) is not None:
            results[number] = refusal
    open_uploads = {number: new for number, new in uploads.items() if number not in results}
    matches: dict[int, list[str]] = {}
    found = selectors.resolve(tx, [new.target for new in open_uploads.values()])
    for number, ids in zip(open_uploads, found, strict=True):
        if isinstance(ids, Invalid):
            results[number] = ids
        else:
            matches[number] = ids
    rows: dict[int, FeedbackRow] = {}
    for number, line in zip(matches, summaries.summarize(tx, list(matches.values())), strict=True):
        new, at = uploads[number], tx.now()
        rows[number] = FeedbackRow(
            organization_id=tx.organization_id,
            id=new.id or uuid7(at),
            created_at=at,
            task_id=new.task_id,
            json_values=new.json_values,
            comment=new.comment,
            completions_summary=line,
            content_digest=digests[number],
            state=new.state,
            author=new.author and new.author.name,
            author_id=new.author and new.author.id,
            author_kind=new.author and new.author.kind,
        )
    store.feedback.add(tx, list(rows.values()))
    new_feedback = {number: StoredFeedback(row, matches[number]) for number, row in rows.items()}
    _link_completions(tx, new_feedback.values())
    return results | new_feedback


def _link_completions(tx: Tx, given: Collection[StoredFeedback]) -> None:
    """Say which completions the new feedback is about; where it is accepted, they are graded for its task."""
    links = [
        FeedbackCompletionRow(row.organization_id, row.id, completion_id, position, row.task_id)
        for row, completion_ids in given
        for position, completion_id in enumerate(completion_ids)
    ]
    store.feedback.link_completions(tx, links)
    by_task: dict[str, set[str]] = {}
    for row, completion_ids in given:
        if row.state == ACCEPTED:
            by_task.setdefault(row.task_id, set()).update(completion_ids)
    for task_id in sorted(by_task):
        ungraded_index.remove_graded(tx, task_id, sorted(by_task[task_id]))


def _already_decided(row: FeedbackRow) -> Conflict:
    return Conflict(f"The feedback {row.id!r} is {row.state} already.", code="decided_already")


def _task_refusal(task: FeedbackTaskRow | None, task_id: str) -> Invalid | None:
    if task is None:
        return feedback_tasks.unknown_task(task_id)
    if task.archived:
        return Invalid.at("/task_id", f"The feedback task {task_id!r} is archived.", code="task_archived")
    return None


def _id_taken(feedback_id: str) -> Conflict:
    return Conflict(f"The feedback {feedback_id!r} is there already, with other content.")


def digest(new: NewFeedback) -> str:
    """Of what makes two uploads the same: `json_values` as JSON values, the selector or the ids as sets."""
    if isinstance(new.target, CompletionList):
        about = ["completion_ids", *sorted(set(new.target.completion_ids))]
    else:
        about = ["completion_tags_selector", *sorted(set(new.target.tags))]
    content = [new.task_id, canonical(new.json_values), new.comment, about]
    if new.state != ACCEPTED:
        content.append(new.state)
    return sha256(written(content).encode()).hexdigest()
