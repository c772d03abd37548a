"""Statements for export: they read whole tables, oldest rows first, in pages of bounded size."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Table, func, literal, select, tuple_

from log10_server.db.transaction import Tx
from log10_server.store.completions import CompletionRow, Cursor, completion
from log10_server.store.feedback import ACCEPTED, FeedbackRow, feedback, feedback_completion, is_linked
from log10_server.store.feedback_tasks import FeedbackTaskRow, feedback_task
from log10_server.store.sessions import SessionRow, session
from log10_server.store.test_runs import TestRunRow, test_run

PAGE_ROWS = 500
PAGE_BYTES = 4 << 20
_LINK_BYTES = 64


class Window(NamedTuple):
    """The rows after the cursor `after` (None: from the start) that were created at the instant `until` or before."""

    after: Cursor | None
    until: int


def newest_instant(tx: Tx) -> int:
    """When the newest row in any of the tables was created; 0 if all are empty."""
    return max(
        tx.connection.scalar(tx.rows(table, "created_at").order_by(table.c.created_at.desc()).limit(1)) or 0
        for table in (session, feedback_task, completion, feedback, test_run)
    )


def list_sessions(tx: Tx, window: Window) -> list[SessionRow]:
    """A page of sessions."""
    return [SessionRow(*row) for row in _page(tx, session, window, literal(0))]


def list_tasks(tx: Tx, window: Window) -> list[FeedbackTaskRow]:
    """A page of feedback tasks."""
    weight = func.length(feedback_task.c.json_schema) + func.length(feedback_task.c.instruction)
    return [FeedbackTaskRow(*row) for row in _page(tx, feedback_task, window, weight)]


_completion_weight: ColumnElement[int] = sum(
    (func.coalesce(func.length(completion.c[name]), 0) for name in ("request", "response", "stacktrace", "tags")),
    start=literal(0),
)


def list_completions(tx: Tx, window: Window) -> list[CompletionRow]:
    """A page of completions."""
    return [CompletionRow(*row) for row in _page(tx, completion, window, _completion_weight)]


def list_completions_with_feedback(tx: Tx, task_id: str, window: Window) -> list[CompletionRow]:
    """A page of completions that have feedback of the task."""
    has_feedback = (
        tx.rows(feedback_completion, "task_id")
        .where(feedback_completion.c.completion_id == completion.c.id, feedback_completion.c.task_id == task_id)
        .correlate(completion)
        .exists()
    )
    return [CompletionRow(*row) for row in _page(tx, completion, window, _completion_weight, has_feedback)]


def list_feedback(tx: Tx, window: Window) -> list[FeedbackRow]:
    """A page of feedback."""
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
    """A page of test runs, with their reports."""
    weight = func.coalesce(func.length(test_run.c.report), 0)
    return [TestRunRow(*row) for row in _page(tx, test_run, window, weight)]


def list_accepted_feedback(tx: Tx, task_id: str, completion_ids: Iterable[str]) -> dict[str, list[str]]:
    """The accepted feedback of the task on these completions: for each feedback id, the ids of its completions."""
    links = (
        tx.rows(feedback_completion, "feedback_id", "completion_id")
        .join(feedback, is_linked)
        .where(
            feedback_completion.c.task_id == task_id,
            feedback.c.state == ACCEPTED,
            tx.in_list(feedback_completion.c.completion_id, sorted(completion_ids)),
        )
    )
    by_feedback: dict[str, list[str]] = {}
    for feedback_id, completion_id in tx.connection.execute(links):
        by_feedback.setdefault(feedback_id, []).append(completion_id)
    return by_feedback


def _page(
    tx: Tx, table: Table, window: Window, weight: ColumnElement[Any], *conditions: ColumnElement[bool]
) -> list[Any]:
    """A page of the rows in the window, oldest first.

    It ends at PAGE_ROWS rows, or when the sum of their `weight` (about their bytes) reaches PAGE_BYTES. It has at least
    one row, if there are any.
    """
    created_at, row_id = table.c.created_at, table.c.id
    keys = tx.rows(table, "created_at", "id").add_columns(weight.label("weight"))
    keys = keys.where(created_at <= window.until, *conditions)
    if window.after is not None:
        keys = keys.where(tuple_(created_at, row_id) > tuple_(*map(literal, window.after)))
    first = keys.order_by(created_at, row_id).limit(PAGE_ROWS).subquery()
    in_order = [first.c.created_at, first.c.id]
    bytes_before = func.coalesce(func.sum(first.c.weight).over(order_by=in_order, rows=(None, -1)), 0)
    with_sums = select(*in_order, bytes_before.label("bytes_before")).subquery()
    rows = (
        tx.rows(table)
        .join(with_sums, row_id == with_sums.c.id)
        .where(with_sums.c.bytes_before < PAGE_BYTES)
        .order_by(with_sums.c.created_at, with_sums.c.id)
    )
    return list(tx.connection.execute(rows))
