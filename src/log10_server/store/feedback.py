"""The table of feedback, the table that links it to completions, and the statements on both."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Final, Literal, NamedTuple, cast

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    Select,
    Text,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    tuple_,
)

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.schema import Digest, Instant, Key, Payload, check_columns, foreign_key, ordered_index, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.store import counted_ranges
from log10_server.store.counted_ranges import CountedList, Position, RowChange

State = Literal["proposed", "accepted", "rejected"]
AuthorKind = Literal["person", "program", "model"]

PROPOSED: Final = "proposed"
ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
STATES: Final[tuple[State, ...]] = (PROPOSED, ACCEPTED, REJECTED)

feedback = owned_table(
    "feedback",
    ("id",),
    Column("id", Key),
    Column("created_at", Instant, nullable=False),
    Column("task_id", Key, nullable=False),
    Column("json_values", Payload, nullable=False),
    Column("comment", Text, nullable=False),
    Column("completions_summary", Text, nullable=False),
    Column("content_digest", Digest, nullable=False),
    Column("state", Key, nullable=False, server_default=ACCEPTED),
    Column("author", Text),
    Column("author_id", Key),
    Column("author_kind", Key),
    foreign_key("task_id", "feedback_task"),
)
# The state is in these indexes so that the accepted feedback can be counted and skipped without reading the rows.
ordered_index(feedback, "created_at", "id", "state")
ordered_index(feedback, "task_id", "created_at", "id", "state")
# Nearly all feedback is accepted, so small partial indexes are enough to find proposed and rejected feedback.
_not_accepted = feedback.c.state != literal_column(f"'{ACCEPTED}'")
ordered_index(feedback, "state", "created_at", "id", only=_not_accepted)
ordered_index(feedback, "task_id", "state", "created_at", "id", only=_not_accepted)

feedback_completion = owned_table(
    "feedback_completion",
    ("feedback_id", "completion_id"),
    Column("feedback_id", Key),
    Column("completion_id", Key),
    Column("position", Integer, nullable=False),
    Column("task_id", Key, nullable=False),
    foreign_key("feedback_id", "feedback"),
    foreign_key("completion_id", "completion"),
    foreign_key("task_id", "feedback_task"),
    links_only=True,
)
ordered_index(feedback_completion, "completion_id", "task_id")


is_linked = (feedback.c.organization_id == feedback_completion.c.organization_id) & (
    feedback.c.id == feedback_completion.c.feedback_id
)


class FeedbackRow(NamedTuple):
    """Feedback for a task. `content_digest` is that of the upload; a repeated upload with the same id must match it.

    `state` is proposed, accepted or rejected; only accepted feedback grades. `author` is the name of the
    author at the time of the upload; `author_kind` is person, program or model. In feedback
    that was stored before authors were recorded, `author`, `author_id` and `author_kind` are None.
    """

    organization_id: str
    id: str
    created_at: int
    task_id: str
    json_values: str
    comment: str
    completions_summary: str
    content_digest: str
    state: State
    author: str | None = None
    author_id: str | None = None
    author_kind: AuthorKind | None = None


class FeedbackCompletionRow(NamedTuple):
    """A link from feedback to a completion. `position` orders the completions of one feedback.

    `task_id` is copied from the feedback, so that one index tells which tasks have graded a completion.
    """

    organization_id: str
    feedback_id: str
    completion_id: str
    position: int
    task_id: str


check_columns(FeedbackRow, feedback)
check_columns(FeedbackCompletionRow, feedback_completion)

_BY_ID = Statement(lambda query: query.rows_by_key(query.rows(feedback), feedback.c.id, "ids"))
_COMPLETION_IDS = Statement(
    lambda query: query.rows(feedback_completion, "feedback_id", "position", "completion_id").where(
        query.in_list(feedback_completion.c.feedback_id, "ids")
    )
)
_REMOVE_LINKS = Statement(
    lambda query: delete(feedback_completion).where(
        query.is_owned(feedback_completion),
        feedback_completion.c.feedback_id == bindparam("feedback_id", type_=Text()),
        query.in_list(feedback_completion.c.completion_id, "ids"),
    )
)
_GRADED = Statement(
    lambda query: query.rows_by_key(
        query.rows(feedback_completion, "task_id", "completion_id")
        .join(feedback, is_linked)
        .where(feedback.c.state == literal_column(f"'{ACCEPTED}'")),
        feedback_completion.c.completion_id,
        "ids",
    )
)


_LINKS = Statement(
    lambda query: (
        query.rows(feedback_completion, "feedback_id", "completion_id")
        .where(
            feedback_completion.c.feedback_id == query.each_value("feedback_id", Text()),
            feedback_completion.c.completion_id > bindparam("after", type_=Text()),
        )
        .order_by(feedback_completion.c.completion_id)
        .limit(bindparam("limit", type_=BigInteger()))
    )
)


def add(tx: Tx, rows: Sequence[FeedbackRow]) -> None:
    """Insert new feedback."""
    counted = counted_ranges.locate(tx, _list_changes(rows, 1))
    tx.insert_many(feedback, rows)
    counted_ranges.store_changes(tx, counted)


def link_completions(tx: Tx, rows: Iterable[FeedbackCompletionRow]) -> None:
    """Insert links from feedback to completions."""
    tx.insert_many(feedback_completion, list(rows))


def find_many(tx: Tx, ids: Iterable[str]) -> dict[str, FeedbackRow]:
    """The feedback with these ids, by id. Unknown ids are left out."""
    distinct = sorted(set(ids))
    if not distinct:
        return {}
    return {row.id: row for row in map(FeedbackRow._make, tx.fetch(_BY_ID, ids=distinct))}


def list_completion_ids(tx: Tx, ids: Sequence[str]) -> dict[str, list[str]]:
    """For each feedback in `ids`, the ids of its completions in their order.

    Feedback without completions is left out.
    """
    if not ids:
        return {}
    by_feedback: dict[str, list[str]] = {}
    # They are sorted here, because the database takes longer to sort them.
    for feedback_id, _, completion_id in sorted(tx.fetch(_COMPLETION_IDS, ids=list(ids))):
        by_feedback.setdefault(feedback_id, []).append(completion_id)
    return by_feedback


def list_links(tx: Tx, feedback_ids: Sequence[str], after: str, limit: int) -> dict[str, list[str]]:
    """For each feedback the first `limit` ids of its completions after the id `after`, in the order of the ids."""
    by_feedback: dict[str, list[str]] = {}
    for feedback_id, completion_id in tx.fetch_each(_LINKS, "feedback_id", feedback_ids, after=after, limit=limit):
        by_feedback.setdefault(feedback_id, []).append(completion_id)
    return by_feedback


def remove(tx: Tx, row: FeedbackRow) -> None:
    """Delete feedback. `row` must be as it is stored."""
    tx.connection.execute(tx.delete(feedback_completion).where(feedback_completion.c.feedback_id == row.id))
    tx.connection.execute(tx.delete(feedback).where(feedback.c.id == row.id))
    counted_ranges.store_changes(tx, counted_ranges.locate(tx, _list_changes([row], -1)))


def unlink(tx: Tx, feedback_id: str, completion_ids: Sequence[str]) -> None:
    """Remove these completions from the feedback."""
    tx.run(_REMOVE_LINKS, feedback_id=feedback_id, ids=list(completion_ids))


def unlink_completion(tx: Tx, completion_id: str) -> None:
    """Remove a completion from all feedback that is about it; the feedback stays."""
    tx.connection.execute(tx.delete(feedback_completion).where(feedback_completion.c.completion_id == completion_id))


def find_graded_pairs(tx: Tx, completion_ids: Sequence[str]) -> set[tuple[str, str]]:
    """The pairs (task id, completion id) of these completions for which there is accepted feedback."""
    if not completion_ids:
        return set()
    return set(tx.fetch(_GRADED, ids=list(completion_ids)))


def replace(tx: Tx, before: FeedbackRow, row: FeedbackRow) -> None:
    """Update the state, the values and the digest of feedback. `before` must be as it is stored."""
    changed = {"state": row.state, "json_values": row.json_values, "content_digest": row.content_digest}
    tx.connection.execute(tx.update(feedback).where(feedback.c.id == row.id).values(changed))
    if row.state != before.state:
        changes = [*_list_changes([before], -1), *_list_changes([row], 1)]
        counted_ranges.store_changes(tx, counted_ranges.locate(tx, changes))


@cache
def _keys(*, is_accepted: bool, of_task: bool) -> Callable[[QueryBuilder], Select[Any]]:
    """A query for the keys of a counted list: the feedback in one state, of all tasks or of one."""

    def keys(query: QueryBuilder) -> Select[Any]:
        rows = query.rows(feedback, "created_at", "id").where(
            feedback.c.state == (literal_column(f"'{ACCEPTED}'") if is_accepted else bindparam("state", type_=Text()))
        )
        if not is_accepted:
            rows = rows.where(_not_accepted)
        return rows.where(feedback.c.task_id == bindparam("task_id", type_=Text())) if of_task else rows

    return keys


def _counted_list(state: State, task_id: str | None) -> CountedList:
    """The feedback in one state, of all tasks or of one, as a list whose rows are counted."""
    keys = _keys(is_accepted=state == ACCEPTED, of_task=task_id is not None)
    values = {} if state == ACCEPTED else {"state": state}
    if task_id is None:
        return CountedList(f"feedback:{state}", keys, values)
    return CountedList(f"feedback:{state}:{task_id}", keys, {**values, "task_id": task_id})


def _list_changes(rows: Iterable[FeedbackRow], difference: int) -> Iterator[RowChange]:
    """What adding these rows (1) or removing them (-1) changes in the counted lists."""
    for row in rows:
        position = Position(row.created_at, row.id)
        yield RowChange(_counted_list(row.state, None), position, difference)
        yield RowChange(_counted_list(row.state, row.task_id), position, difference)


class Filters(NamedTuple):
    """The filters of a list of feedback; None means no filter. `created_from` and `created_to` are inclusive."""

    task_id: str | None = None
    completion_id: str | None = None
    state: str | None = None
    created_from: int | None = None
    created_to: int | None = None


_VALUES_AT_ONCE = 200


def list_page(tx: Tx, filters: Filters, offset: int, limit: int) -> list[FeedbackRow]:
    """A page of the feedback that passes the filters, newest first."""
    values = _parameters(filters)
    if filters.completion_id is not None or counted_ranges.is_small(tx, offset):  # one completion has little feedback
        return list(map(FeedbackRow._make, tx.fetch(_page(*values), **values, offset=offset, limit=limit)))
    lists = _counted_lists(filters)
    start = counted_ranges.find_start(tx, lists, offset + _count_newer(tx, filters, lists))
    if start is None:
        return []
    # The rows that are newer than `created_to` are among those that are skipped, so that filter is left out.
    values = _parameters(filters._replace(created_to=None))
    values |= {"last_at": start.before.created_at, "last_id": start.before.id}
    # Only the keys of the skipped feedback are read, and the rows only for the page.
    ids = [feedback_id for _, feedback_id in tx.fetch(_key_page(*values), **values, offset=start.skipped, limit=limit)]
    rows = find_many(tx, ids)
    return [rows[feedback_id] for feedback_id in ids if feedback_id in rows]


def iterate_values(
    tx: Tx, filters: Filters, after: tuple[int, str], until: tuple[int, str]
) -> Iterator[tuple[str, str]]:
    """The ids and the values of all feedback that passes the filters, newest first, read a few hundred at a time.

    Only the positions after `after` up to and with `until` are read; a position is a `created_at` and an id.
    """
    values = _parameters(filters)
    values |= {"after_at": after[0], "after_id": after[1], "until_at": until[0], "until_id": until[1]}
    last: dict[str, Any] = {}
    while rows := tx.fetch(_values(*values, *last), **values, **last):
        tx.check_deadline()
        for _, feedback_id, json_values in rows:
            yield feedback_id, json_values
        if len(rows) < _VALUES_AT_ONCE:
            return
        last = {"last_at": rows[-1][0], "last_id": rows[-1][1]}


def count(tx: Tx, filters: Filters) -> int:
    """How much feedback passes the filters."""
    if filters.completion_id is not None:
        values = _parameters(filters)
        [(number,)] = tx.fetch(_count(*values), **values)
        return int(number)
    lists = _counted_lists(filters)
    if filters.created_from is None:
        number = counted_ranges.total(tx, lists)
    else:
        number = counted_ranges.count_from(tx, lists, Position(filters.created_from, ""))
    return max(number - _count_newer(tx, filters, lists), 0)


def _counted_lists(filters: Filters) -> list[CountedList]:
    """The lists which together have all feedback that passes the filters, apart from the range of time."""
    states = STATES if filters.state is None else [cast(State, filters.state)]
    return [_counted_list(state, filters.task_id) for state in states]


def _count_newer(tx: Tx, filters: Filters, lists: Sequence[CountedList]) -> int:
    """How many rows of these lists are newer than the range of time of the filters."""
    if filters.created_to is None:
        return 0
    return counted_ranges.count_from(tx, lists, Position(filters.created_to + 1, ""))


def _parameters(filters: Filters) -> dict[str, Any]:
    """The filters that are set, as values of the parameters of the statements below."""
    values = {name: value for name, value in filters._asdict().items() if value is not None}
    # A database uses a partial index only for a statement that repeats the condition of the index.
    return values | ({"is_open": True} if filters.state not in (None, ACCEPTED) else {})


@cache
def _page(*parameters: str) -> Statement:
    return Statement(
        lambda query: (
            _filtered(query, parameters)
            .order_by(*_newest_first(parameters))
            .offset(bindparam("offset", type_=BigInteger()))
            .limit(bindparam("limit", type_=BigInteger()))
        )
    )


@cache
def _key_page(*parameters: str) -> Statement:
    return Statement(
        lambda query: (
            _filtered(query, parameters)
            .with_only_columns(feedback.c.created_at, feedback.c.id)
            .order_by(*_newest_first(parameters))
            .offset(bindparam("offset", type_=BigInteger()))
            .limit(bindparam("limit", type_=BigInteger()))
        )
    )


@cache
def _values(*parameters: str) -> Statement:
    return Statement(
        lambda query: (
            _filtered(query, parameters)
            .with_only_columns(feedback.c.created_at, feedback.c.id, feedback.c.json_values)
            .order_by(*_newest_first(parameters))
            .limit(literal_column(str(_VALUES_AT_ONCE)))
        )
    )


@cache
def _count(*parameters: str) -> Statement:
    return Statement(
        lambda query: select(func.count()).select_from(
            _filtered(query, parameters).with_only_columns(feedback.c.id).subquery()
        )
    )


def _filtered(query: QueryBuilder, parameters: Collection[str]) -> Select[Any]:
    """A query for the feedback that passes these filters. `parameters` has their names; the values are bound later."""
    rows = query.rows(feedback)
    created_at, feedback_id = _order(parameters)
    task_id: ColumnElement[str] = feedback.c.task_id
    state: ColumnElement[str] = feedback.c.state
    if "completion_id" in parameters:
        # One completion has little feedback, so the database should start at the completion. No index fits the two
        # expressions below, which keeps SQLite from reading all feedback of the task or state instead.
        task_id, state = feedback_completion.c.task_id, feedback.c.state.concat(literal_column("''"))
        rows = rows.join(feedback_completion, is_linked).where(
            query.is_owned(feedback_completion),
            feedback_completion.c.completion_id == bindparam("completion_id", type_=Text()),
        )
    elif "is_open" in parameters:
        rows = rows.where(_not_accepted)
    if "task_id" in parameters:
        rows = rows.where(task_id == bindparam("task_id", type_=Text()))
    if "state" in parameters:
        rows = rows.where(state == bindparam("state", type_=Text()))
    if "created_from" in parameters:
        rows = rows.where(created_at >= bindparam("created_from", type_=BigInteger()))
    if "created_to" in parameters:
        rows = rows.where(created_at <= bindparam("created_to", type_=BigInteger()))
    if "after_id" in parameters:
        after = tuple_(bindparam("after_at", type_=BigInteger()), bindparam("after_id", type_=Text()))
        until = tuple_(bindparam("until_at", type_=BigInteger()), bindparam("until_id", type_=Text()))
        rows = rows.where(tuple_(created_at, feedback_id) > after)
        if "last_id" not in parameters:  # with two upper bounds SQLite would begin at the wrong one
            rows = rows.where(tuple_(created_at, feedback_id) <= until)
    if "last_id" in parameters:
        last = tuple_(bindparam("last_at", type_=BigInteger()), bindparam("last_id", type_=Text()))
        rows = rows.where(tuple_(created_at, feedback_id) < last)
    return rows


def _order(parameters: Collection[str]) -> tuple[ColumnElement[int], ColumnElement[str]]:
    """The columns that lists are ordered by.

    The list of one completion's feedback is short. It is ordered by an expression that no index has, because otherwise
    the database might walk the index in this order, through the feedback of all completions.
    """
    created_at: ColumnElement[int] = feedback.c.created_at
    if "completion_id" in parameters:
        created_at = created_at + literal_column("0", BigInteger())
    return created_at, feedback.c.id


def _newest_first(parameters: Collection[str]) -> list[ColumnElement[Any]]:
    return [column.desc() for column in _order(parameters)]
