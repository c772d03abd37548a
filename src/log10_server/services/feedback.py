"""Uploads, reads, lists and deletes feedback, and accepts or rejects proposals (docs/api.md, "Uploading feedback")."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import NamedTuple

from log10_server import store
from log10_server.clock import uuid7
from log10_server.db.transaction import Tx
from log10_server.errors import Conflict, Invalid, NotFound, Refusal
from log10_server.runtime.context import Actor, Context
from log10_server.services import (
    feedback_blocks,
    feedback_tasks,
    filtered_feedback,
    selectors,
    summaries,
    ungraded_index,
)
from log10_server.services.filtered_feedback import Matches
from log10_server.services.filters import Filter
from log10_server.services.selectors import CompletionList, Selector
from log10_server.store.feedback import (
    ACCEPTED,
    PROPOSED,
    REJECTED,
    FeedbackCompletionRow,
    FeedbackRow,
    Filters,
    State,
)
from log10_server.store.feedback_blocks import Position
from log10_server.store.feedback_tasks import FeedbackTaskRow
from log10_server.strict_json import canonical, written


class NewFeedback(NamedTuple):
    """Feedback to store. `json_values` is JSON text. If `id` is None, the feedback gets a new id.

    `upload` sets the author and the digest. If the digest is not set, `record` computes it inside the transaction.
    """

    id: str | None
    task_id: str
    json_values: str
    comment: str
    target: Selector | CompletionList
    state: State = ACCEPTED
    content_digest: str | None = None
    author: Actor | None = None


class StoredFeedback(NamedTuple):
    """Stored feedback, and the ids of the completions that it is about, in their stored order."""

    feedback: FeedbackRow
    completion_ids: list[str]


async def upload(context: Context, new: NewFeedback) -> StoredFeedback:
    """Store feedback on the completions that `new.target` names (docs/api.md, "Uploading feedback").

    The values are validated before the transaction begins, because a schema may take a second to check. A repeated
    upload is answered with what is stored, even when the schema would refuse it now: an import validates nothing.
    Raises Invalid for an unknown or archived task, values that its schema refuses, an unknown completion, no match, or
    more than `at_most` matches; Conflict for an id that is taken by other content.
    """
    content_digest = await context.compute(lambda: digest(new))
    new = new._replace(author=context.actor, content_digest=content_digest)
    try:
        await feedback_tasks.validate(context, new.task_id, new.json_values)
    except Invalid:
        stored = await context.look_up(lambda tx: find_repeated(tx, new)) if new.id is not None else None
        if stored is None:
            raise
        return stored
    target = new.target
    matches = len(target.completion_ids) if isinstance(target, CompletionList) else target.at_most
    uploaded = await context.record(record, new, links=matches)
    _wake_backfill(context, uploaded)
    return uploaded


async def accept_proposal(context: Context, feedback_id: str, json_values: str | None) -> StoredFeedback:
    """Accept a proposal, so that it grades its completions.

    If `json_values` is not None, it replaces the proposed values.

    Raises the errors of `accept`, and Invalid for values that the task's schema refuses.
    """
    if json_values is None:
        accepted = await context.write(lambda tx: accept(tx, feedback_id))
        _wake_backfill(context, accepted)
        return accepted
    task_id = (await context.look_up(lambda tx: get(tx, feedback_id))).feedback.task_id
    await feedback_tasks.validate(context, task_id, json_values)
    accepted = await context.write(lambda tx: accept(tx, feedback_id, json_values, task_id))
    _wake_backfill(context, accepted)
    return accepted


async def delete_feedback(context: Context, feedback_id: str) -> None:
    """Delete feedback. Its completions become ungraded, unless other feedback grades them. Raises NotFound.

    Feedback on many completions is deleted in several transactions, because other writes wait for each of them. If the
    deletion is interrupted, the feedback is on fewer completions, and the deletion can be repeated.
    """
    created_at = await context.write(lambda tx: delete_piece(tx, feedback_id))
    while created_at is not None:
        created_at = await context.write(partial(delete_piece, feedback_id=feedback_id, created_at=created_at))


def record(tx: Tx, uploads: Sequence[NewFeedback]) -> list[StoredFeedback | Refusal]:
    """Store feedback whose values have been validated. The results are in the order of the uploads.

    If an id is stored already with the same content, the result is the stored feedback. If an upload can't be stored,
    its result is a refusal: Invalid for an unknown or archived task, an unknown completion, a selector without a match,
    or more than `at_most` matches; Conflict for an id that is stored with other content.
    """
    results: dict[int, StoredFeedback | Refusal] = {}
    pending = dict(enumerate(uploads))
    while pending:
        # Each round stores the first remaining upload of every id. A second upload with the same id must wait for the
        # next round, where it is compared with the stored one.
        number_by_id: dict[str | int, int] = {}
        for number, new in pending.items():
            number_by_id.setdefault(number if new.id is None else new.id, number)
        results |= _record_each_id_once(tx, {number: pending[number] for number in number_by_id.values()})
        pending = {number: new for number, new in pending.items() if number not in results}
    return [results[number] for number in range(len(uploads))]


def find_repeated(tx: Tx, new: NewFeedback) -> StoredFeedback | None:
    """Return the stored feedback that has the id and the content of `new`, or None if there is none.

    Such an upload repeats an earlier one.
    """
    row = store.feedback.find_many(tx, [new.id]).get(new.id) if new.id is not None else None
    if row is None or row.content_digest != (new.content_digest or digest(new)):
        return None
    return with_completion_ids(tx, [row])[0]


def get(tx: Tx, feedback_id: str) -> StoredFeedback:
    """Return the feedback with this id. Raises NotFound."""
    row = store.feedback.find_many(tx, [feedback_id]).get(feedback_id)
    if row is None:
        raise NotFound(f"There is no feedback {feedback_id!r}.")
    return with_completion_ids(tx, [row])[0]


def delete(tx: Tx, feedback_id: str) -> None:
    """Delete feedback in one transaction. Raises NotFound. `delete_feedback` does the same in pieces."""
    created_at = delete_piece(tx, feedback_id)
    while created_at is not None:
        created_at = delete_piece(tx, feedback_id, created_at)


def delete_piece(tx: Tx, feedback_id: str, created_at: int | None = None) -> int | None:
    """Remove some completions from feedback, or the last ones and the feedback itself.

    Returns the feedback's `created_at` if some of it is left, and None if it is deleted. The call for the next piece
    must pass that `created_at`. Between two pieces another call may have deleted the feedback, and a client may have
    uploaded new feedback with the same id. The new feedback has another `created_at`, so it is kept. Only an import
    stores a `created_at` again, and then it is the same feedback.

    The removed completions become ungraded, unless other feedback grades them. Raises NotFound if there is no such
    feedback and this is the first piece.
    """
    row = store.feedback.find_many(tx, [feedback_id]).get(feedback_id)
    if created_at is not None and (row is None or row.created_at != created_at):
        return None
    if row is None:
        raise NotFound(f"There is no feedback {feedback_id!r}.")
    max_links = tx.thresholds.links_per_step
    completion_ids = store.feedback.list_links(tx, [feedback_id], "", max_links).get(feedback_id, [])
    store.feedback.unlink(tx, feedback_id, completion_ids)
    is_last = len(completion_ids) < max_links
    if is_last:
        store.feedback.remove(tx, row)
        _note_changes(tx, [row])
    if row.state == ACCEPTED:
        ungraded_index.add_after_removed_feedback(tx, row.task_id, completion_ids)
    return None if is_last else row.created_at


def list_page(tx: Tx, filters: Filters, satisfies: Filter | None, offset: int, limit: int) -> list[StoredFeedback]:
    """List feedback that passes the filters and whose values satisfy the filter over values, newest first."""
    if satisfies is not None or offset:
        # Several statements find such a page, and a change between two of them must not move it.
        tx.begin_snapshot()
    if satisfies is None:
        return with_completion_ids(tx, store.feedback.list_page(tx, filters, offset, limit))
    page_ids: list[str] = []
    position = 0
    for matches in filtered_feedback.iterate_matches(tx, filters, satisfies):
        page_ids += _in_page(matches, position, offset, limit)
        position += matches.number
        if position >= offset + limit:
            break
    return _find_in_order(tx, page_ids)


def list_page_with_total(
    tx: Tx, filters: Filters, satisfies: Filter | None, offset: int, limit: int
) -> tuple[list[StoredFeedback], int]:
    """List a page like `list_page`, and count the feedback on all pages."""
    tx.begin_snapshot()
    if satisfies is None:
        return list_page(tx, filters, None, offset, limit), store.feedback.count(tx, filters)
    page_ids: list[str] = []
    total = 0
    for matches in filtered_feedback.iterate_matches(tx, filters, satisfies):
        page_ids += _in_page(matches, total, offset, limit)
        total += matches.number
    return _find_in_order(tx, page_ids), total


def accept(
    tx: Tx, feedback_id: str, json_values: str | None = None, validated_for_task_id: str | None = None
) -> StoredFeedback:
    """Accept a proposal. `json_values`, if not None, replaces the proposed values; the caller has validated it.

    Accepting twice changes nothing. Raises NotFound if there is no such feedback, or if it belongs to another task than
    the one whose schema the values were validated against; Conflict if the feedback was rejected, or was accepted with
    other values; Invalid if the task is archived.
    """
    stored = get(tx, feedback_id)
    row = stored.feedback
    # The feedback may have been deleted and uploaded again for another task since the values were validated.
    if validated_for_task_id is not None and row.task_id != validated_for_task_id:
        raise NotFound(f"There is no feedback {feedback_id!r} of the task {validated_for_task_id!r}.")
    is_edited = json_values is not None and canonical(json_values) != canonical(row.json_values)
    if row.state == REJECTED or (row.state == ACCEPTED and is_edited):
        raise _already_decided(row)
    if row.state == ACCEPTED:
        return stored
    if (refusal := _task_refusal(feedback_tasks.get_referenced(tx, row.task_id), row.task_id)) is not None:
        raise refusal
    row = row._replace(state=ACCEPTED, json_values=row.json_values if json_values is None else json_values)
    replace(tx, stored.feedback, row)
    ungraded_index.remove_graded(tx, row.task_id, sorted(stored.completion_ids))
    return StoredFeedback(row, stored.completion_ids)


def reject(tx: Tx, feedback_id: str) -> StoredFeedback:
    """Reject a proposal. Rejecting twice changes nothing. Raises NotFound; Conflict for accepted feedback."""
    stored = get(tx, feedback_id)
    if stored.feedback.state == ACCEPTED:
        raise _already_decided(stored.feedback)
    row = stored.feedback._replace(state=REJECTED)
    replace(tx, stored.feedback, row)
    return StoredFeedback(row, stored.completion_ids)


def find_open_proposal(tx: Tx, completion_id: str) -> StoredFeedback | None:
    """Return the newest proposal on a completion that nobody has accepted or rejected, or None if there is none."""
    proposals = list_page(tx, Filters(completion_id=completion_id, state=PROPOSED), None, 0, 1)
    return proposals[0] if proposals else None


def add(tx: Tx, rows: Collection[FeedbackRow]) -> None:
    """Insert new feedback."""
    store.feedback.add(tx, list(rows))
    _note_changes(tx, rows)


def replace(tx: Tx, before: FeedbackRow, row: FeedbackRow) -> None:
    """Update the state, the values and the digest of feedback, which is stored as it is in `before`."""
    store.feedback.replace(tx, before, row)
    _note_changes(tx, [row])


def _note_changes(tx: Tx, rows: Collection[FeedbackRow]) -> None:
    if rows:
        feedback_blocks.note_changes(tx, [Position(row.created_at, row.id) for row in rows])


def with_completion_ids(tx: Tx, rows: Iterable[FeedbackRow]) -> list[StoredFeedback]:
    """Add to each piece of feedback the ids of the completions that it is about. The order stays the same."""
    rows = list(rows)
    completion_ids = store.feedback.list_completion_ids(tx, [row.id for row in rows])
    return [StoredFeedback(row, completion_ids.get(row.id, [])) for row in rows]


def digest(new: NewFeedback) -> str:
    """Return a digest of the content. Two uploads with the same id are the same upload if their digests are equal.

    The digest does not depend on how the JSON of `json_values` is written, nor on the order or repetition of tags and
    ids. It leaves out the author.
    """
    if isinstance(new.target, CompletionList):
        target = ["completion_ids", *sorted(set(new.target.completion_ids))]
    else:
        target = ["completion_tags_selector", *sorted(set(new.target.tags))]
    content = [new.task_id, canonical(new.json_values), new.comment, target]
    if new.state != ACCEPTED:
        content.append(new.state)
    return sha256(written(content).encode()).hexdigest()


def _in_page(matches: Matches, position: int, offset: int, limit: int) -> list[str]:
    """Return the ids of those matches that are on the page. `position` is that of the first match in the list."""
    if position >= offset + limit or position + matches.number <= offset:
        return []
    return matches.list_ids()[max(0, offset - position) : offset + limit - position]


def _find_in_order(tx: Tx, feedback_ids: Sequence[str]) -> list[StoredFeedback]:
    rows = store.feedback.find_many(tx, feedback_ids)
    return with_completion_ids(tx, [rows[feedback_id] for feedback_id in feedback_ids if feedback_id in rows])


def _record_each_id_once(tx: Tx, uploads: Mapping[int, NewFeedback]) -> dict[int, StoredFeedback | Refusal]:
    """Do the work of `record` for uploads with different ids.

    The keys of `uploads` and of the result are the positions of the uploads.
    """
    tasks = store.feedback_tasks.find_many(tx, {new.task_id for new in uploads.values()})
    stored_rows = store.feedback.find_many(tx, {new.id for new in uploads.values() if new.id is not None})
    digests = {number: new.content_digest or digest(new) for number, new in uploads.items()}
    results: dict[int, StoredFeedback | Refusal] = {}
    repeats = {number: row for number, new in uploads.items() if (row := stored_rows.get(new.id or "")) is not None}
    for number, stored in zip(repeats, with_completion_ids(tx, repeats.values()), strict=True):
        is_same = stored.feedback.content_digest == digests[number]
        results[number] = stored if is_same else _id_taken(stored.feedback.id)
    for number, new in uploads.items():
        if number not in results and (refusal := _task_refusal(tasks.get(new.task_id), new.task_id)) is not None:
            results[number] = refusal
    open_uploads = {number: new for number, new in uploads.items() if number not in results}
    matches: dict[int, list[str]] = {}
    resolved = selectors.resolve(tx, [new.target for new in open_uploads.values()])
    for number, completion_ids in zip(open_uploads, resolved, strict=True):
        if isinstance(completion_ids, Invalid):
            results[number] = completion_ids
        else:
            matches[number] = completion_ids
    rows: dict[int, FeedbackRow] = {}
    for number, summary in zip(matches, summaries.summarize(tx, list(matches.values())), strict=True):
        new, created_at = uploads[number], tx.now()
        rows[number] = FeedbackRow(
            organization_id=tx.organization_id,
            id=new.id or uuid7(created_at),
            created_at=created_at,
            task_id=new.task_id,
            json_values=new.json_values,
            comment=new.comment,
            completions_summary=summary,
            content_digest=digests[number],
            state=new.state,
            author=new.author and new.author.name,
            author_id=new.author and new.author.id,
            author_kind=new.author and new.author.kind,
        )
    _note_changes(tx, rows.values())
    new_feedback = {number: StoredFeedback(row, matches[number]) for number, row in rows.items()}
    with tx.buffered_inserts():
        store.feedback.add(tx, list(rows.values()))
        _link_completions(tx, new_feedback.values())
    return results | new_feedback


def _link_completions(tx: Tx, new_feedback: Collection[StoredFeedback]) -> None:
    """Store the links from the new feedback to its completions.

    Accepted feedback grades its completions, so they leave the ungraded index of its task.
    """
    links = [
        FeedbackCompletionRow(row.organization_id, row.id, completion_id, position, row.task_id)
        for row, completion_ids in new_feedback
        for position, completion_id in enumerate(completion_ids)
    ]
    store.feedback.link_completions(tx, links)
    graded_by_task: dict[str, set[str]] = {}
    for row, completion_ids in new_feedback:
        if row.state == ACCEPTED:
            graded_by_task.setdefault(row.task_id, set()).update(completion_ids)
    for task_id in sorted(graded_by_task):
        ungraded_index.remove_graded(tx, task_id, sorted(graded_by_task[task_id]))


def _wake_backfill(context: Context, stored: StoredFeedback) -> None:
    """Continue the backfill now if the feedback has left some of it to do (`ungraded_index.remove_graded`)."""
    if len(stored.completion_ids) > context.runtime.database.thresholds.max_graded_at_once:
        context.runtime.backfill.wake()


def _already_decided(row: FeedbackRow) -> Conflict:
    return Conflict(f"The feedback {row.id!r} is already {row.state}.", code="decided_already")


def _task_refusal(task: FeedbackTaskRow | None, task_id: str) -> Invalid | None:
    """Return the reason why this task does not accept feedback, or None if it does."""
    if task is None:
        return feedback_tasks.unknown_task(task_id)
    if task.archived:
        return Invalid.at("/task_id", f"The feedback task {task_id!r} is archived.", code="task_archived")
    return None


def _id_taken(feedback_id: str) -> Conflict:
    return Conflict(f"The feedback {feedback_id!r} already exists, with other content.")
