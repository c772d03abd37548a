"""Reading whole tables in the order in which their rows were made, a page of bounded size at a time."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Table, func, literal, select, tuple_

from log10_server.db.transaction import Tx
from log10_server.store.completions import CompletionRow, Cursor, completion
from log10_server.store.feedback import FeedbackRow, feedback, feedback_completion
from log10_server.store.feedback_tasks import FeedbackTaskRow, feedback_task
from log10_server.store.sessions import SessionRow, session
from log10_server.store.test_runs import TestRunRow, test_run

PAGE_ROWS = 500
PAGE_BYTES = 4 << 20
_LINK_BYTES = 64


class Window(NamedTuple):
    """The rows behind `after` that were made at the instant `until` or earlier."""

    after: Cursor | None
    until: int


def newest_instant(tx: Tx) -> int:
    """The instant of the newest row of all that is read here; 0 when there is none."""
    return max(
        tx.connection.scalar(tx.rows(table, "created_at").order_by(table.c.created_at.desc()).limit(1)) or 0
        for table in (session, feedback_task, completion, feedback, test_run)
    )


def list_sessions(tx: Tx, window: Window) -> list[SessionRow]:
    return [SessionRow(*row) for row in _page(tx, session, window, literal(0))]


def list_tasks(tx: Tx, window: Window) -> list[FeedbackTaskRow]:
    weight = func.length(feedback_task.c.json_schema) + func.length(feedback_task.c.instruction)
    return [FeedbackTaskRow(*row) for row in _page(tx, feedback_task, window, weight)]


_completion_weight: ColumnElement[int] = sum(
    (func.coalesce(func.length(completion.c[name]), 0) for name in ("request", "response", "stacktrace", "tags")),
    start=literal(0),
)


def list_completions(tx: Tx, window: Window) -> list[CompletionRow]:
    return [CompletionRow(*row) for row in _page(tx, completion, window, _completion_weight)]


def list_completions_with_feedback(tx: Tx, task_id: str, window: Window) -> list[CompletionRow]:
    """Completions that some feedback of the task is about."""
    about = (
        tx.rows(feedback_completion, "task_id")
        .where(feedback_completion.c.completion_id == completion.c.id, feedback_completion.c.task_id == task_id)
        .correlate(completion)
        .exists()
    )
    return [CompletionRow(*row) for row in _page(tx, completion, window, _completion_weight, about)]


def list_feedback(tx: Tx, window: Window) -> list[FeedbackRow]:
    links = (
        select(func.count())
        .where(
            feedback_completion.c.organization_id == feedback.c.organization_id,
            feedback_completion.c.feedback_id == feedback.c.id,
        )
        .correlate(feedback)
        .scalar_subquery()
    )
    weight = func.length(feedback.c.json_values) + func.length(feedback.c.comment) + links * _LINK_BYTES
    return [FeedbackRow(*row) for row in _page(tx, feedback, window, weight)]


def list_test_runs(tx: Tx, window: Window) -> list[TestRunRow]:
    weight = func.coalesce(func.length(test_run.c.report), 0)
    return [TestRunRow(*row) for row in _page(tx, test_run, window, weight)]


def list_accepted_feedback(tx: Tx, task_id: str, completion_ids: Iterable[str]) -> dict[str, list[str]]:
    """The ids of the accepted feedback of the task that is about these completions, and which of them it is about."""
    links = (
        tx.rows(feedback_completion, "feedback_id", "completion_id")
        .join(
            feedback,
            (feedback.c.organization_id == feedback_completion.c.organization_id)
            & (feedback.c.id == feedback_completion.c.feedback_id),
        )
        .where(
            feedback_completion.c.task_id == task_id,
            feedback.c.state == "accepted",
            tx.in_list(feedback_completion.c.completion_id, sorted(completion_ids)),
        )
    )
    found: dict[str, list[str]] = {}
    for feedback_id, completion_id in tx.connection.execute(links):
        found.setdefault(feedback_id, []).append(completion_id)
    return found


def _page(
    tx: Tx, table: Table, window: Window, weight: ColumnElement[Any], *conditions: ColumnElement[bool]
) -> list[Any]:
    """Rows in the window, the oldest first: as many as fit into a page by count and by `weight`, one at least."""
    at, id = table.c.created_at, table.c.id
    keys = tx.rows(table, "created_at", "id").add_columns(weight.label("weight")).where(at <= window.until, *conditions)
    if window.after is not None:
        keys = keys.where(tuple_(at, id) > tuple_(*map(literal, window.after)))
    some = keys.order_by(at, id).limit(PAGE_ROWS).subquery()
    before = func.coalesce(func.sum(some.c.weight).over(order_by=[some.c.created_at, some.c.id], rows=(None, -1)), 0)
    weighed = select(some.c.created_at, some.c.id, before.label("before")).subquery()
    found = (
        tx.rows(table)
        .join(weighed, id == weighed.c.id)
        .where(weighed.c.before < PAGE_BYTES)
        .order_by(weighed.c.created_at, weighed.c.id)
    )
    return list(tx.connection.execute(found))
