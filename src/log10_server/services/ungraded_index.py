"""Keeps the index of ungraded completions: a row for each task and completion that it wants feedback on and has none.

Whatever changes a completion, its tags, a task or feedback calls a function here in the same transaction, so the index
always equals what a query over completions, tasks and feedback would find (docs/api.md, "Ungraded completions"). Only
for a task that has just changed the older completions follow in the background. Until then `services/ungraded` finds
these by a query.
"""

from collections.abc import Mapping, Sequence

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.services import selectors
from log10_server.store.completions import CompletionRow, Cursor
from log10_server.store.feedback_tasks import FeedbackTaskRow
from log10_server.store.ungraded import UngradedRow
from log10_server.strict_json import value


def add_matching(
    tx: Tx,
    rows: Sequence[CompletionRow],
    tag_ids: Mapping[str, set[int]],
    selectors_by_task: Mapping[str, set[int]],
    graded: set[tuple[str, str]],
) -> None:
    """Add the completions to the index for each task whose selector they match and that has no feedback on them.

    `tag_ids` has the keys of each completion's tags. `selectors_by_task` has the keys of each selector's tags; selectors
    that can't match may be left out. `graded` has the (task, completion) pairs with feedback.
    """
    store.ungraded.add(
        tx,
        [
            UngradedRow(tx.organization_id, row.id, task_id, row.created_at)
            for row in rows
            for task_id, selector in selectors_by_task.items()
            if selector <= tag_ids[row.id] and (task_id, row.id) not in graded
        ],
    )


def start_backfill(tx: Tx, task: FeedbackTaskRow) -> None:
    """Index a task that is new, was archived or restored, or has another selector.

    The newest completions are indexed now, the older ones in the background (`runtime/ungraded_backfill`).
    """
    store.ungraded.store_backfill_progress(tx, task.id, _index_batch(tx, task, None))


def continue_backfill(tx: Tx, task_id: str) -> None:
    """Index the next batch of older completions for a task, if there are any left."""
    after = store.ungraded.list_backfill_progress(tx, task_id).get(task_id)
    task = store.feedback_tasks.find(tx, task_id)
    if after is not None and task is not None:
        store.ungraded.store_backfill_progress(tx, task_id, _index_batch(tx, task, after))


def selector_tag_ids(tx: Tx, task: FeedbackTaskRow) -> list[int]:
    """The keys of the tags that a completion must have for the task to want it. Empty when the task wants none."""
    return [] if task.archived else selectors.find_tag_ids(tx, value(task.selector))


def _index_batch(tx: Tx, task: FeedbackTaskRow, after: Cursor | None) -> Cursor | None:
    """Index a batch of completions that are older than `after`. Gives where the next batch begins; None at the end."""
    return store.ungraded.backfill(tx, task.id, selector_tag_ids(tx, task), after, tx.thresholds.backfill_batch_size)


def remove_graded(tx: Tx, task_id: str, completion_ids: Sequence[str]) -> None:
    """Remove completions that now have feedback of the task."""
    if completion_ids:
        store.ungraded.remove_graded(tx, task_id, completion_ids)


def add_after_removed_feedback(tx: Tx, task_id: str, completion_ids: Sequence[str]) -> None:
    """Add completions whose accepted feedback of the task was removed, unless other feedback grades them."""
    if not completion_ids:
        return
    rows = list(store.completions.find_many(tx, completion_ids).values())
    existing_tags = store.feedback_tasks.find_existing_tags(tx, {tag for row in rows for tag in tags_of(row)})
    tag_ids = {row.id: {existing_tags.keys[tag] for tag in tags_of(row)} for row in rows}
    selectors_by_task = {task_id: existing_tags.selectors[task_id]} if task_id in existing_tags.selectors else {}
    add_matching(tx, rows, tag_ids, selectors_by_task, store.feedback.find_graded_pairs(tx, completion_ids))


def tags_of(row: CompletionRow) -> list[str]:
    """The tags of a completion, in the order in which they were sent."""
    tags: list[str] = value(row.tags) if row.tags else []
    return tags
