"""Keeps what is ungraded: a row for each (task, completion) that matches and has no feedback yet (docs/api.md, "Ungraded completions").

Whatever changes a completion, its tags, a task or feedback calls here in the same transaction, so the kept rows
always equal what a query over completions, tasks and feedback would find. Only a task that has just changed may be
followed by the older completions later; until then `services/ungraded` asks the query about these.
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
    chosen_by: Mapping[str, set[int]],
    graded: set[tuple[str, str]],
) -> None:
    """These completions have now these tags.

    `chosen_by` are the selectors that name one or more of them, by task; `graded` are tasks and completions with feedback.
    """
    store.ungraded.add(
        tx,
        [
            UngradedRow(tx.organization_id, row.id, task_id, row.created_at)
            for row in rows
            for task_id, selector in chosen_by.items()
            if selector <= tag_ids[row.id] and (task_id, row.id) not in graded
        ],
    )


def start_backfill(tx: Tx, task: FeedbackTaskRow) -> None:
    """A task is new, was archived or taken out again, or has another selector.

    The newest completions are looked at now, those behind them by and by (`runtime/ungraded_backfill`).
    """
    store.ungraded.store_backfill_progress(tx, task.id, _filled(tx, task, None))


def continue_backfill(tx: Tx, task_id: str) -> None:
    """Fill the next piece of a task that is not whole yet."""
    behind = store.ungraded.list_backfill_progress(tx, task_id).get(task_id)
    task = store.feedback_tasks.find(tx, task_id)
    if behind is not None and task is not None:
        store.ungraded.store_backfill_progress(tx, task_id, _filled(tx, task, behind))


def selector_tag_ids(tx: Tx, task: FeedbackTaskRow) -> list[int]:
    """The keys of the tags that a completion must have for the task to want it; none when it wants nothing."""
    return [] if task.archived else selectors.find_tag_ids(tx, value(task.selector))


def _filled(tx: Tx, task: FeedbackTaskRow, behind: Cursor | None) -> Cursor | None:
    return store.ungraded.backfill(tx, task.id, selector_tag_ids(tx, task), behind, tx.thresholds.backfill_batch_size)


def remove_graded(tx: Tx, task_id: str, completion_ids: Sequence[str]) -> None:
    """Feedback of this task on these completions was stored."""
    if completion_ids:
        store.ungraded.remove_graded(tx, task_id, completion_ids)


def add_after_removed_feedback(tx: Tx, task_id: str, completion_ids: Sequence[str]) -> None:
    """Accepted feedback of this task on these completions is gone; others may still grade them."""
    if not completion_ids:
        return
    rows = list(store.completions.find_many(tx, completion_ids).values())
    known = store.feedback_tasks.find_known_tags(tx, {tag for row in rows for tag in tags_of(row)})
    tag_ids = {row.id: {known.keys[tag] for tag in tags_of(row)} for row in rows}
    its = {id: selector for id, selector in known.selectors.items() if id == task_id}
    add_matching(tx, rows, tag_ids, its, store.feedback.find_graded_pairs(tx, completion_ids))


def tags_of(row: CompletionRow) -> list[str]:
    """The tags of a completion, in the order given."""
    tags: list[str] = value(row.tags) if row.tags else []
    return tags
