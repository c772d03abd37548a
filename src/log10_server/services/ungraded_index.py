"""Keeps the index of ungraded completions up to date.

The index has a row for each pair of a task and a completion such that the task wants feedback on the completion and has
none. Code that changes a completion, its tags, a task or feedback must call a function of this module in the same
transaction, so that the index always equals what a query over completions, tasks and feedback would find (docs/api.md,
"Ungraded completions"). The one exception is a task that was just created or changed: its older completions are indexed
in the background, and until then `services/ungraded` finds them by a query.
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
    """Add each completion to the index for every task whose selector matches it and that has no feedback on it.

    `tag_ids` has the keys of each completion's tags, and `selectors_by_task` the keys of the tags of each task's
    selector. The caller may leave out selectors that can't match. `graded` has the (task, completion) pairs with
    accepted feedback.
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
    """Index completions for a task that is new, was archived or restored, or has a new selector.

    This call indexes the newest completions. The older ones follow in the background (`runtime/ungraded_backfill`).
    """
    store.ungraded.store_backfill_progress(tx, task.id, _index_batch(tx, task, None))


def continue_backfill(tx: Tx, task_id: str) -> None:
    """Index the next batch of older completions for a task, if there are any left."""
    after = store.ungraded.list_backfill_progress(tx, task_id).get(task_id)
    task = store.feedback_tasks.find(tx, task_id)
    if after is not None and task is not None:
        store.ungraded.store_backfill_progress(tx, task_id, _index_batch(tx, task, after))


def selector_tag_ids(tx: Tx, task: FeedbackTaskRow) -> list[int]:
    """Return the keys of the tags that a completion must have for the task to want feedback on it.

    The list is empty if the task wants feedback on no completion.
    """
    return [] if task.archived else selectors.find_tag_ids(tx, value(task.selector))


def _index_batch(tx: Tx, task: FeedbackTaskRow, after: Cursor | None) -> Cursor | None:
    """Index a batch of completions that are older than `after`.

    Returns the cursor after which the next batch begins, or None if there is none.
    """
    return store.ungraded.backfill(tx, task.id, selector_tag_ids(tx, task), after, tx.thresholds.backfill_batch_size)


def remove_graded(tx: Tx, task_id: str, completion_ids: Sequence[str]) -> None:
    """Remove completions from the index of a task, because they have accepted feedback now.

    If they are very many, the index of the task is built again in the background instead, because other writes would
    wait for the removal.
    """
    if len(completion_ids) > tx.thresholds.max_graded_at_once:
        task = store.feedback_tasks.find(tx, task_id)
        if task is not None:
            start_backfill(tx, task)
    elif completion_ids:
        store.ungraded.remove_graded(tx, task_id, completion_ids)


def add_after_removed_feedback(tx: Tx, task_id: str, completion_ids: Sequence[str]) -> None:
    """Add completions to the index of a task again after accepted feedback on them was removed.

    A completion that other feedback still grades is not added.
    """
    task = store.feedback_tasks.find(tx, task_id)
    tag_ids = [] if task is None else selector_tag_ids(tx, task)
    if not completion_ids or not tag_ids:
        return
    graded = store.feedback.find_graded_pairs(tx, completion_ids)
    store.ungraded.add(
        tx,
        [
            UngradedRow(tx.organization_id, completion_id, task_id, created_at)
            for completion_id, created_at in store.completion_tags.filter_with_all_tags(tx, completion_ids, tag_ids)
            if (task_id, completion_id) not in graded
        ],
    )


def tags_of(row: CompletionRow) -> list[str]:
    """Return the tags of a completion, in the order in which they were sent."""
    tags: list[str] = value(row.tags) if row.tags else []
    return tags
