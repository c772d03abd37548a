"""Statements for exports: they read whole tables in pages of bounded size, each in an order that an index serves."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Select, Table, Text, bindparam, func, literal_column, select, tuple_

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.store.completions import CompletionRow, Cursor, completion
from log10_server.store.feedback import ACCEPTED, FeedbackRow, State, feedback, feedback_completion, is_linked
from log10_server.store.feedback_tasks import FeedbackTaskRow, feedback_task
from log10_server.store.sessions import SessionRow, session
from log10_server.store.test_runs import TestRunRow, test_run

PAGE_ROWS = 500
PAGE_BYTES = 4 << 20
_LINK_BYTES = 64
_FIRST = Cursor(-(2**63), "")  # a cursor before all rows


class Window(NamedTuple):
    """The rows after the cursor `after` (None: from the start) that were created at the instant `until` or before."""

    after: Cursor | None
    until: int


def newest_instant(tx: Tx) -> int:
    """When the newest task, completion, feedback or test run was created; 0 if there are none."""
    return max(
        tx.connection.scalar(tx.rows(table, "created_at").order_by(table.c.created_at.desc()).limit(1)) or 0
        for table in (feedback_task, completion, feedback, test_run)
    )


def list_sessions(tx: Tx, after: Cursor | None) -> list[SessionRow]:
    """A page of sessions, in the order of their ids, because no index has the order of time."""
    after_id = "" if after is None else after.id
    return [SessionRow(*row) for row in tx.fetch(_SESSIONS, after_id=after_id)]


def list_tasks(tx: Tx, window: Window) -> list[FeedbackTaskRow]:
    """A page of feedback tasks, oldest first."""
    rows = map(FeedbackTaskRow._make, _page(tx, _TASKS, window))
    return [row._replace(archived=bool(row.archived)) for row in rows]


def list_completions(tx: Tx, window: Window) -> list[CompletionRow]:
    """A page of completions, oldest first."""
    return [CompletionRow(*row) for row in _page(tx, _COMPLETIONS, window)]


def list_feedback(tx: Tx, window: Window) -> list[FeedbackRow]:
    """A page of feedback, oldest first."""
    return [FeedbackRow(*row) for row in _page(tx, _FEEDBACK, window)]


def list_test_runs(tx: Tx, window: Window) -> list[TestRunRow]:
    """A page of test runs, oldest first, with their reports."""
    return [TestRunRow(*row) for row in _page(tx, _TEST_RUNS, window)]


class TaskFeedbackRow(NamedTuple):
    """Feedback of one task, with what decides whether its completions are exported as training data."""

    created_at: int
    id: str
    state: State
    json_values: str


def list_feedback_of_task(tx: Tx, task_id: str, window: Window) -> list[TaskFeedbackRow]:
    """A page of the feedback of a task, oldest first."""
    return [TaskFeedbackRow(*row) for row in _page(tx, _FEEDBACK_OF_TASK, window, task_id=task_id)]


def list_accepted_feedback(tx: Tx, task_id: str, completion_ids: Sequence[str]) -> dict[str, list[Cursor]]:
    """For each of these completions the accepted feedback of the task, oldest first."""
    by_completion: dict[str, list[Cursor]] = {}
    for completion_id, *position in tx.fetch(_ACCEPTED_FEEDBACK, task_id=task_id, ids=list(completion_ids)):
        by_completion.setdefault(completion_id, []).append(Cursor(*position))
    return {completion_id: sorted(positions) for completion_id, positions in by_completion.items()}


class PayloadsRow(NamedTuple):
    """The payloads of a completion."""

    id: str
    request: str | None
    response: str | None


def list_payloads(tx: Tx, completion_ids: Sequence[str]) -> list[PayloadsRow]:
    """The payloads of the first of these completions, in their order; at least one, and about PAGE_BYTES at most."""
    if not tx.backend.is_server:  # reading them one by one costs nothing more, and no size has to be read before
        rows: list[PayloadsRow] = []
        size = 0
        for completion_id in completion_ids:
            rows += map(PayloadsRow._make, tx.fetch(_PAYLOADS, ids=[completion_id]))
            size += sum(len(text or "") for text in rows[-1][1:]) if rows else 0
            if size >= PAGE_BYTES:
                break
        return rows
    sizes = dict(tx.fetch(_PAYLOAD_SIZES, ids=list(completion_ids)))
    sums = accumulate((sizes.get(completion_id, 0) for completion_id in completion_ids), initial=0)
    within = [each for each, before in zip(completion_ids, sums, strict=False) if before < PAGE_BYTES]
    by_id = {row.id: row for row in map(PayloadsRow._make, tx.fetch(_PAYLOADS, ids=within))}
    return [by_id[completion_id] for completion_id in within if completion_id in by_id]


def _page(tx: Tx, statement: Statement, window: Window, **values: Any) -> Iterator[Sequence[Any]]:
    """The rows of a page, without their sizes.

    It ends at PAGE_ROWS rows, or when the sum of their sizes reaches PAGE_BYTES. It has at least one row, if there are
    any.
    """
    after = _FIRST if window.after is None else window.after
    size = 0
    for row in tx.iterate(statement, after_at=after.created_at, after_id=after.id, until=window.until, **values):
        yield row[:-1]
        size += row[-1]
        if size >= PAGE_BYTES:
            return


def _sessions(query: QueryBuilder) -> Select[Any]:
    in_order = query.rows(session).where(session.c.id > bindparam("after_id", type_=Text())).order_by(session.c.id)
    return in_order.limit(literal_column(str(PAGE_ROWS)))


SizeOf = Callable[[QueryBuilder], ColumnElement[int]]


def _select_page(
    query: QueryBuilder, table: Table, size_of: SizeOf, columns: Sequence[str] = (), *conditions: ColumnElement[bool]
) -> Select[Any]:
    """A query for the rows of `_page`, oldest first. The last column is about how many bytes the row has.

    Postgres reads all rows before it returns the first one, so there the query itself bounds the sum of their sizes.
    """
    position = (table.c.created_at, table.c.id)
    after = tuple_(bindparam("after_at", type_=BigInteger()), bindparam("after_id", type_=Text()))
    in_window = (tuple_(*position) > after, table.c.created_at <= bindparam("until", type_=BigInteger()), *conditions)
    page_rows: ColumnElement[int] = literal_column(str(PAGE_ROWS))
    size = size_of(query).label("size")
    if query.reads_rows_on_demand:
        return query.rows(table, *columns).add_columns(size).where(*in_window).order_by(*position).limit(page_rows)
    keys = query.rows(table, "created_at", "id").add_columns(size).where(*in_window)
    first = keys.order_by(*position).limit(page_rows).subquery()
    bytes_before = func.sum(first.c.size).over(order_by=[first.c.created_at, first.c.id], rows=(None, -1))
    bounded = select(first, func.coalesce(bytes_before, literal_column("0")).label("bytes_before")).subquery()
    return (
        query.rows(table, *columns)
        .add_columns(bounded.c.size)
        .join(bounded, table.c.id == bounded.c.id)
        .where(bounded.c.bytes_before < literal_column(str(PAGE_BYTES)))
        .order_by(bounded.c.created_at, bounded.c.id)
    )


def _sum_of_sizes(query: QueryBuilder, table: Table, *columns: str) -> ColumnElement[int]:
    return sum((query.size(table.c[name]) for name in columns[1:]), start=query.size(table.c[columns[0]]))


def _size_of_feedback(query: QueryBuilder) -> ColumnElement[int]:
    links = (
        select(func.count())
        .where(query.is_owned(feedback_completion), feedback_completion.c.feedback_id == feedback.c.id)
        .correlate(feedback)
        .scalar_subquery()
    )
    return _sum_of_sizes(query, feedback, "json_values", "comment") + links * literal_column(str(_LINK_BYTES))


def _pages(table: Table, size_of: SizeOf) -> Statement:
    return Statement(partial(_select_page, table=table, size_of=size_of))


_SESSIONS = Statement(_sessions)
_TASKS = _pages(
    feedback_task, lambda query: _sum_of_sizes(query, feedback_task, "json_schema", "instruction", "selector")
)
_COMPLETIONS = _pages(
    completion, lambda query: _sum_of_sizes(query, completion, "request", "response", "stacktrace", "tags")
)
_FEEDBACK = _pages(feedback, _size_of_feedback)
_TEST_RUNS = _pages(test_run, lambda query: _sum_of_sizes(query, test_run, "report"))
_FEEDBACK_OF_TASK = Statement(
    lambda query: _select_page(
        query,
        feedback,
        lambda query: _sum_of_sizes(query, feedback, "json_values"),
        TaskFeedbackRow._fields,
        feedback.c.task_id == bindparam("task_id", type_=Text()),
    )
)
_ACCEPTED_FEEDBACK = Statement(
    lambda query: query.rows_by_key(
        query.rows(feedback_completion, "completion_id")
        .join(feedback, is_linked)
        .add_columns(feedback.c.created_at, feedback.c.id)
        .where(
            feedback_completion.c.task_id == bindparam("task_id", type_=Text()),
            feedback.c.state == literal_column(f"'{ACCEPTED}'"),
        ),
        feedback_completion.c.completion_id,
        "ids",
    )
)
_PAYLOADS = Statement(
    lambda query: query.rows_by_key(query.rows(completion, *PayloadsRow._fields), completion.c.id, "ids")
)
_PAYLOAD_SIZES = Statement(
    lambda query: query.rows_by_key(
        query.rows(completion, "id").add_columns(_sum_of_sizes(query, completion, "request", "response").label("size")),
        completion.c.id,
        "ids",
    )
)
