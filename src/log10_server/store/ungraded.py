"""What wants feedback: a row for each completion and task that matches it and has no feedback on it yet.

It could be asked of completions, tasks and feedback each time, but then a million graded completions take
seconds; `services/wanting` keeps these rows true in the transaction of whatever changes them.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, exists, insert, literal, select

from log10_server.store.base import Instant, Key, link, order, owned, same_columns
from log10_server.store.completions import CompletionRow, completion
from log10_server.store.database import Tx
from log10_server.store.feedback import feedback, feedback_completion, is_linked
from log10_server.store.tagged import with_all_tags

ungraded = owned(
    "ungraded",
    ("completion_id", "task_id"),
    Column("completion_id", Key),
    Column("task_id", Key),
    Column("created_at", Instant, nullable=False),
    link("completion_id", "completion"),
    link("task_id", "feedback_task"),
    links_only=True,
)
order(ungraded, "created_at", "completion_id")
order(ungraded, "task_id", "created_at", "completion_id")


class UngradedRow(NamedTuple):
    """`created_at` is the completion's, so that the index gives the newest first."""

    organization_id: str
    completion_id: str
    task_id: str
    created_at: int


same_columns(UngradedRow, ungraded)


def add(tx: Tx, rows: Iterable[UngradedRow]) -> None:
    tx.insert_many(ungraded, sorted(rows))


def add_all_of_task(tx: Tx, task_id: str, tag_ids: Sequence[int]) -> None:
    """Every completion that has all of `tag_ids` (one at least) and no feedback of the task."""
    all_tagged, by = with_all_tags(tx, tag_ids)
    graded = exists(
        select(literal(1))
        .select_from(feedback_completion)
        .join(feedback, is_linked)
        .where(
            feedback.c.state == "accepted",
            feedback_completion.c.organization_id == by.c.organization_id,
            feedback_completion.c.completion_id == by.c.completion_id,
            feedback_completion.c.task_id == task_id,
        )
        .correlate(by)
    )
    rows = all_tagged.where(~graded).with_only_columns(
        by.c.organization_id, by.c.completion_id, literal(task_id).label("task_id"), by.c.created_at
    )
    tx.connection.execute(insert(ungraded).from_select(list(UngradedRow._fields), rows))


def remove_of_completions(tx: Tx, completion_ids: Sequence[str]) -> None:
    tx.connection.execute(tx.delete(ungraded).where(tx.among(ungraded.c.completion_id, completion_ids)))


def remove_of_task(tx: Tx, task_id: str) -> None:
    tx.connection.execute(tx.delete(ungraded).where(ungraded.c.task_id == task_id))


def remove_pairs(tx: Tx, task_id: str, completion_ids: Sequence[str]) -> None:
    """What a feedback of the task has graded."""
    of_task = (ungraded.c.task_id == task_id) & tx.among(ungraded.c.completion_id, completion_ids)
    tx.connection.execute(tx.delete(ungraded).where(of_task))


def page(tx: Tx, task_id: str | None, offset: int, limit: int) -> list[CompletionRow]:
    """Completions that some task (or the one given) wants feedback on, newest first, each once."""
    wanted = tx.rows(ungraded, "created_at", "completion_id")
    wanted = wanted.distinct() if task_id is None else wanted.where(ungraded.c.task_id == task_id)
    newest: Any = (
        wanted.order_by(ungraded.c.created_at.desc(), ungraded.c.completion_id.desc())
        .offset(offset)
        .limit(limit)
        .subquery()
    )
    found = (
        tx.rows(completion)
        .join(newest, completion.c.id == newest.c.completion_id)
        .order_by(newest.c.created_at.desc(), newest.c.completion_id.desc())
    )
    return [CompletionRow(*row) for row in tx.connection.execute(found)]
