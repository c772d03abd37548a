"""What wants feedback: a row for each completion and task that matches it and has no feedback on it yet.

It could be asked of completions, tasks and feedback each time, but then a million graded completions take
seconds; `services/ungraded_index` keeps these rows true in the transaction of whatever changes them.

Only what a change of a task means for hundreds of thousands of older completions comes later, piece by piece and
the newest first: a row of `ungraded_backfill` says how far it is, and behind that lists ask the query itself.
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
from log10_server.store.completions import CompletionRow, Cursor, completion
from log10_server.store.feedback import feedback, feedback_completion, is_linked

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
    """`created_at` is the completion's, so that the index gives the newest first."""

    organization_id: str
    completion_id: str
    task_id: str
    created_at: int


class BackfillRow(NamedTuple):
    """A task whose rows are true down to this completion, itself among them; those behind it are still to come.

    Until then they mean nothing: there may be some of another selector, or of before the task was archived.
    """

    organization_id: str
    task_id: str
    created_at: int
    completion_id: str


check_columns(UngradedRow, ungraded)
check_columns(BackfillRow, ungraded_backfill)


def add(tx: Tx, rows: Iterable[UngradedRow]) -> None:
    # Behind the place down to which a task is filled a row may be there.
    tx.insert_missing(ungraded, sorted(rows))


def backfill(tx: Tx, task_id: str, tag_ids: Sequence[int], behind: Cursor | None, most: int) -> Cursor | None:
    """Bring the rows of a task behind that place (None: from the newest on) to what the query finds; gives how far.

    `most` bounds what is looked at, so what it costs; None is given when all is done. No tags: nothing is wanted.
    """
    kept = tx.rows(ungraded).where(ungraded.c.task_id == task_id)
    ends = [_end(tx, kept, ungraded, behind, most)]
    if tag_ids:
        found, by, looked_at = select_with_all_tags(tx, tag_ids)
        ends.append(_end(tx, looked_at, by, behind, most))
    end = max((end for end in ends if end is not None), default=None)
    gone = tx.delete(ungraded).where(ungraded.c.task_id == task_id)
    tx.connection.execute(_between(gone, ungraded, behind, end))
    if tag_ids:
        rows = _between(found.where(_is_wanted(by, task_id)), by, behind, end).with_only_columns(
            by.c.organization_id, by.c.completion_id, literal(task_id).label("task_id"), by.c.created_at
        )
        tx.connection.execute(insert(ungraded).from_select(list(UngradedRow._fields), rows))
    return end


def store_backfill_progress(tx: Tx, task_id: str, end: Cursor | None) -> None:
    """Remember how far a task is filled; None when it is whole."""
    tx.connection.execute(tx.delete(ungraded_backfill).where(ungraded_backfill.c.task_id == task_id))
    if end is not None:
        tx.insert_many(ungraded_backfill, [BackfillRow(tx.organization_id, task_id, *end)])


def list_backfill_progress(tx: Tx, task_id: str | None = None) -> dict[str, Cursor]:
    """How far each task is filled of those that are not whole; of the one given."""
    found = tx.rows(ungraded_backfill, "task_id", "created_at", "completion_id")
    if task_id is not None:
        found = found.where(ungraded_backfill.c.task_id == task_id)
    return {row.task_id: Cursor(row.created_at, row.completion_id) for row in tx.connection.execute(found)}


def list_unfinished_backfills(connection: Connection, most: int) -> list[tuple[str, str]]:
    """Tasks of any organization that are not whole, with their organization before them."""
    table = ungraded_backfill
    some = select(table.c.organization_id, table.c.task_id).order_by(table.c.organization_id, table.c.task_id)
    return [(row.organization_id, row.task_id) for row in connection.execute(some.limit(most))]


def list_indexed(tx: Tx, task_id: str | None, besides: Mapping[str, Cursor], most: int) -> list[Cursor]:
    """Completions that are kept as wanted, of tasks in `besides` only down to their place; newest first, each once."""
    its = ungraded
    wanted = tx.rows(its, "created_at", "completion_id")
    if task_id is None:
        found = _newest(tx, wanted.where(tx.not_in_list(its.c.task_id, sorted(besides))).distinct(), its, most)
    else:
        found = set()
    for other, place in besides.items():
        found |= _newest(tx, _between(wanted.where(its.c.task_id == other), its, None, place), its, most)
    return heapq.nlargest(most, found)


def list_by_query(tx: Tx, task_id: str, tag_ids: Sequence[int], behind: Cursor, most: int) -> set[Cursor]:
    """What the query finds behind that place: completions with all of `tag_ids` and no feedback of the task."""
    if not tag_ids:
        return set()
    found, by, _ = select_with_all_tags(tx, tag_ids)
    wanted = found.where(_is_wanted(by, task_id)).with_only_columns(by.c.created_at, by.c.completion_id)
    return _newest(tx, _between(wanted, by, behind, None), by, most)


def remove_completions(tx: Tx, completion_ids: Sequence[str]) -> None:
    tx.run(_REMOVE_OF_COMPLETIONS, ids=list(completion_ids))


def remove_graded(tx: Tx, task_id: str, completion_ids: Sequence[str]) -> None:
    """What a feedback of the task has graded."""
    tx.run(_REMOVE_PAIRS, task_id=task_id, ids=list(completion_ids))


def list_page(tx: Tx, task_id: str | None, offset: int, limit: int) -> list[CompletionRow] | None:
    """Completions that some task (or the one given) wants feedback on, newest first, each once.

    None when such a task is not whole yet. That is asked in the same statement: it may become so any moment.
    """
    if task_id is None:
        rows = tx.fetch(_PAGE, offset=offset, limit=limit)
    else:
        rows = tx.fetch(_PAGE_OF_TASK, task_id=task_id, offset=offset, limit=limit)
    if rows[0][-1]:  # a task is noted
        return None
    return [CompletionRow._make(row[:-1]) for row in rows if row[1] is not None]


def _page(query: QueryBuilder, of_task: bool) -> Select[Any]:
    """The rows of completions, with whether a task is noted behind each; one empty row when there are none."""
    wanted = query.rows(ungraded, "created_at", "completion_id")
    noted = query.rows(ungraded_backfill, "task_id")
    if of_task:
        task_id = bindparam("task_id", type_=Text())
        wanted = wanted.where(ungraded.c.task_id == task_id)
        noted = noted.where(ungraded_backfill.c.task_id == task_id)
    else:
        wanted = wanted.distinct()
    newest: Any = (
        wanted.order_by(ungraded.c.created_at.desc(), ungraded.c.completion_id.desc())
        .offset(bindparam("offset", type_=BigInteger()))
        .limit(bindparam("limit", type_=BigInteger()))
        .subquery("newest")
    )
    its_row = query.is_owned(completion) & (completion.c.id == newest.c.completion_id)
    whether = select(noted.exists().label("is_noted")).subquery("whether")
    return (
        select(*completion.c, whether.c.is_noted)
        .select_from(whether.outerjoin(newest, true()).outerjoin(completion, its_row))
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


def _is_wanted(by: FromClause, task_id: str) -> ColumnElement[bool]:
    """Whether a completion has no feedback of the task. A count is looked up for each row and never becomes a join."""
    given = (
        select(func.count())
        .select_from(feedback_completion)
        .join(feedback, is_linked)
        .where(
            feedback.c.state == "accepted",
            feedback_completion.c.organization_id == by.c.organization_id,
            feedback_completion.c.completion_id == by.c.completion_id,
            feedback_completion.c.task_id == task_id,
        )
        .correlate(by)
        .scalar_subquery()
    )
    return given == 0


Narrowed = TypeVar("Narrowed", Select[Any], Delete)


def _between(statement: Narrowed, by: FromClause, behind: Cursor | None, end: Cursor | None) -> Narrowed:
    """Only rows behind the one place, down to the other; None is no bound."""
    at = tuple_(by.c.created_at, by.c.completion_id)
    if behind is not None:
        statement = statement.where(at < tuple_(*map(literal, behind)))
    if end is not None:
        statement = statement.where(at >= tuple_(*map(literal, end)))
    return statement


def _end(tx: Tx, rows: Select[Any], by: FromClause, behind: Cursor | None, most: int) -> Cursor | None:
    """The place of the row number `most` behind that place; None when there are fewer."""
    at, id = by.c.created_at, by.c.completion_id
    last = _between(rows, by, behind, None).with_only_columns(at, id).order_by(at.desc(), id.desc())
    found = tx.connection.execute(last.offset(most - 1).limit(1)).first()
    return None if found is None else Cursor(*found)


def _newest(tx: Tx, rows: Select[Any], by: FromClause, most: int) -> set[Cursor]:
    newest = rows.order_by(by.c.created_at.desc(), by.c.completion_id.desc()).limit(most)
    return {Cursor(*row) for row in tx.connection.execute(newest)}
