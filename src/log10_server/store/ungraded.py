"""The index of ungraded completions: a row for each pair of a completion and a task that still needs feedback on it.

A list of ungraded completions could instead query completions, tasks and feedback each time, but with a million graded
completions that takes seconds.
`services/ungraded_index` updates the index in the same transaction as the completions, tasks and feedback.

There is one exception: a new or changed task may match hundreds of thousands of older completions. Their rows are added
later, step by step, newest first (the backfill). A row of `ungraded_backfill` says how far the index of a task is
complete, and for older completions lists use the slow query.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Delete,
    FromClause,
    Select,
    Text,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    true,
    tuple_,
)

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.schema import Instant, Key, check_columns, foreign_key, ordered_index, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.store.completion_tags import select_with_all_tags
from log10_server.store.completions import Cursor
from log10_server.store.feedback import ACCEPTED, feedback, feedback_completion, is_linked

ungraded = owned_table(
    "ungraded",
    ("completion_id", "task_id"),
    Column("completion_id", Key),
    Column("task_id", Key),
    Column("created_at", Instant, nullable=False),
    foreign_key("completion_id", "completion"),
    foreign_key("task_id", "feedback_task"),
    links_only=True,
)
ordered_index(ungraded, "created_at", "completion_id")
ordered_index(ungraded, "task_id", "created_at", "completion_id")


ungraded_backfill = owned_table(
    "ungraded_backfill",
    ("task_id",),
    Column("task_id", Key),
    Column("created_at", Instant, nullable=False),
    Column("completion_id", Key, nullable=False),
    foreign_key("task_id", "feedback_task"),
)


class UngradedRow(NamedTuple):
    """An ungraded completion of a task.

    `created_at` is that of the completion, so that the index is in order of time.
    """

    organization_id: str
    completion_id: str
    task_id: str
    created_at: int


class BackfillRow(NamedTuple):
    """A task whose index is complete only from the newest completion back to this one, inclusive.

    Rows in the index for older completions must be ignored: they may be left over from another selector, or from the
    time before the task was archived.
    """

    organization_id: str
    task_id: str
    created_at: int
    completion_id: str


check_columns(UngradedRow, ungraded)
check_columns(BackfillRow, ungraded_backfill)


def add(tx: Tx, rows: Iterable[UngradedRow]) -> None:
    """Add rows to the index, except those that exist already."""
    # A row may exist already for completions that the backfill has not reached (see `BackfillRow`).
    tx.insert_missing(ungraded, sorted(rows))


def backfill(tx: Tx, task_id: str, tag_ids: Sequence[int], after: Cursor | None, limit: int) -> Cursor | None:
    """Rebuild a part of a task's index: the rows after `after`, in the order newest first (None: from the newest on).

    `limit` bounds the rows that are read, and so the cost. Returns the position down to which the index is complete
    now, or None when all of it is. If `tag_ids` is empty, no completion matches.
    """
    indexed = tx.rows(ungraded).where(ungraded.c.task_id == task_id)
    ends = [_find_end(tx, indexed, ungraded, after, limit)]
    if tag_ids:
        tagged, index, candidates = select_with_all_tags(tx, tag_ids)
        ends.append(_find_end(tx, candidates, index, after, limit))
    end = max((end for end in ends if end is not None), default=None)
    outdated = tx.delete(ungraded).where(ungraded.c.task_id == task_id)
    tx.connection.execute(_between(outdated, ungraded, after, end))
    if tag_ids:
        rows = _between(tagged.where(_has_no_feedback(index, task_id)), index, after, end).with_only_columns(
            index.c.organization_id, index.c.completion_id, literal(task_id).label("task_id"), index.c.created_at
        )
        tx.connection.execute(insert(ungraded).from_select(list(UngradedRow._fields), rows))
    return end


def store_backfill_progress(tx: Tx, task_id: str, end: Cursor | None) -> None:
    """Store the position down to which a task's index is complete; None when all of it is."""
    tx.connection.execute(tx.delete(ungraded_backfill).where(ungraded_backfill.c.task_id == task_id))
    if end is not None:
        tx.insert_many(ungraded_backfill, [BackfillRow(tx.organization_id, task_id, *end)])


def list_backfill_progress(tx: Tx, task_id: str | None = None) -> dict[str, Cursor]:
    """For each task with an incomplete index, or only for `task_id`, the position down to which it is complete."""
    rows = tx.rows(ungraded_backfill, "task_id", "created_at", "completion_id")
    if task_id is not None:
        rows = rows.where(ungraded_backfill.c.task_id == task_id)
    return {row.task_id: Cursor(row.created_at, row.completion_id) for row in tx.connection.execute(rows)}


def list_unfinished_backfills(connection: Connection, limit: int) -> list[tuple[str, str]]:
    """Pairs (organization id, task id) of the tasks of all organizations whose index is incomplete."""
    table = ungraded_backfill
    tasks = select(table.c.organization_id, table.c.task_id).order_by(table.c.organization_id, table.c.task_id)
    return [(row.organization_id, row.task_id) for row in connection.execute(tasks.limit(limit))]


def list_indexed(tx: Tx, task_id: str | None, progress: Mapping[str, Cursor], limit: int) -> list[Cursor]:
    """Ungraded completions that are in the index, newest first, each once.

    `progress` has the tasks whose index is incomplete. For these, only rows down to the stored position are used.
    """
    rows = tx.rows(ungraded, "created_at", "completion_id")
    newest: set[Cursor] = set()
    if task_id is None:
        complete = rows.where(tx.not_in_list(ungraded.c.task_id, sorted(progress))).distinct()
        newest = _newest(tx, complete, ungraded, limit)
    for incomplete_id, end in progress.items():
        of_task = _between(rows.where(ungraded.c.task_id == incomplete_id), ungraded, None, end)
        newest |= _newest(tx, of_task, ungraded, limit)
    return heapq.nlargest(limit, newest)


def list_by_query(tx: Tx, task_id: str, tag_ids: Sequence[int], after: Cursor, limit: int) -> set[Cursor]:
    """The newest completions after `after` that have all of `tag_ids` and no feedback of the task.

    This does not use the index of ungraded completions.
    """
    if not tag_ids:
        return set()
    tagged, index, _ = select_with_all_tags(tx, tag_ids)
    rows = tagged.where(_has_no_feedback(index, task_id)).with_only_columns(index.c.created_at, index.c.completion_id)
    return _newest(tx, _between(rows, index, after, None), index, limit)


def remove_completions(tx: Tx, completion_ids: Sequence[str]) -> None:
    """Remove all rows of these completions from the index."""
    tx.run(_REMOVE_OF_COMPLETIONS, ids=list(completion_ids))


def remove_graded(tx: Tx, task_id: str, completion_ids: Sequence[str]) -> None:
    """Remove these completions from the index of a task, because feedback has graded them."""
    tx.run(_REMOVE_PAIRS, task_id=task_id, ids=list(completion_ids))


def list_page(tx: Tx, task_id: str | None, offset: int, limit: int) -> list[str] | None:
    """The ids of ungraded completions of any task, or of one, newest first, each once.

    Returns None when the index of such a task is incomplete. The same statement checks that, because an index may
    become incomplete between two statements.
    """
    if task_id is None:
        rows = tx.fetch(_PAGE, offset=offset, limit=limit)
    else:
        rows = tx.fetch(_PAGE_OF_TASK, task_id=task_id, offset=offset, limit=limit)
    if rows[0][-1]:  # the index of a task is incomplete
        return None
    return [completion_id for completion_id, _ in rows if completion_id is not None]


def _page(query: QueryBuilder, of_task: bool) -> Select[Any]:
    """A query for ids of completions, each followed by whether the index is incomplete.

    Without any completion it returns one row: null and that flag.
    """
    rows = query.rows(ungraded, "created_at", "completion_id")
    backfills = query.rows(ungraded_backfill, "task_id")
    if of_task:
        task_id = bindparam("task_id", type_=Text())
        rows = rows.where(ungraded.c.task_id == task_id)
        backfills = backfills.where(ungraded_backfill.c.task_id == task_id)
    else:
        rows = rows.distinct()
    newest: Any = (
        rows.order_by(ungraded.c.created_at.desc(), ungraded.c.completion_id.desc())
        .offset(bindparam("offset", type_=BigInteger()))
        .limit(bindparam("limit", type_=BigInteger()))
        .subquery("newest")
    )
    backfill_state = select(backfills.exists().label("is_incomplete")).subquery("backfill_state")
    return (
        select(newest.c.completion_id, backfill_state.c.is_incomplete)
        .select_from(backfill_state.outerjoin(newest, true()))
        .order_by(newest.c.created_at.desc(), newest.c.completion_id.desc())
    )


_PAGE = Statement(lambda query: _page(query, of_task=False))
_PAGE_OF_TASK = Statement(lambda query: _page(query, of_task=True))
_REMOVE_OF_COMPLETIONS = Statement(
    lambda query: delete(ungraded).where(query.is_owned(ungraded), query.in_list(ungraded.c.completion_id, "ids"))
)
_REMOVE_PAIRS = Statement(
    lambda query: delete(ungraded).where(
        query.is_owned(ungraded),
        ungraded.c.task_id == bindparam("task_id", type_=Text()),
        query.in_list(ungraded.c.completion_id, "ids"),
    )
)


def _has_no_feedback(index: FromClause, task_id: str) -> ColumnElement[bool]:
    """A condition: a completion has no accepted feedback of the task.

    It counts the feedback of each row, because a planner can't turn a count into a join.
    """
    number_of_feedback = (
        select(func.count())
        .select_from(feedback_completion)
        .join(feedback, is_linked)
        .where(
            feedback.c.state == ACCEPTED,
            feedback_completion.c.organization_id == index.c.organization_id,
            feedback_completion.c.completion_id == index.c.completion_id,
            feedback_completion.c.task_id == task_id,
        )
        .correlate(index)
        .scalar_subquery()
    )
    return number_of_feedback == 0


Filtered = TypeVar("Filtered", Select[Any], Delete)


def _between(statement: Filtered, index: FromClause, after: Cursor | None, end: Cursor | None) -> Filtered:
    """Limit a statement to the rows after `after` and down to `end`, in the order newest first. None means no bound."""
    position = tuple_(index.c.created_at, index.c.completion_id)
    if after is not None:
        statement = statement.where(position < tuple_(*map(literal, after)))
    if end is not None:
        statement = statement.where(position >= tuple_(*map(literal, end)))
    return statement


def _find_end(tx: Tx, rows: Select[Any], index: FromClause, after: Cursor | None, limit: int) -> Cursor | None:
    """The position of the `limit`-th row after `after`; None when there are fewer rows."""
    position = (index.c.created_at, index.c.completion_id)
    remaining = _between(rows, index, after, None).with_only_columns(*position)
    newest_first = remaining.order_by(*(column.desc() for column in position))
    row = tx.connection.execute(newest_first.offset(limit - 1).limit(1)).first()
    return None if row is None else Cursor(*row)


def _newest(tx: Tx, rows: Select[Any], index: FromClause, limit: int) -> set[Cursor]:
    newest = rows.order_by(index.c.created_at.desc(), index.c.completion_id.desc()).limit(limit)
    return {Cursor(*row) for row in tx.connection.execute(newest)}
