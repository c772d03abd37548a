"""Feedback, and the completions that it is about."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    Select,
    Text,
    bindparam,
    func,
    literal_column,
    select,
    tuple_,
)

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.schema import Digest, Instant, Key, Payload, check_columns, foreign_key, ordered_index, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx

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
    Column("state", Key, nullable=False, server_default="accepted"),
    Column("author", Text),
    Column("author_id", Key),
    Column("author_kind", Key),
    foreign_key("task_id", "feedback_task"),
)
ordered_index(feedback, "created_at", "id")
ordered_index(feedback, "task_id", "created_at", "id")
# Nearly all feedback is accepted: what isn't is found by indexes of its own.
_not_accepted = feedback.c.state != literal_column("'accepted'")
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


State = Literal["proposed", "accepted", "rejected"]
AuthorKind = Literal["person", "program", "model"]


class FeedbackRow(NamedTuple):
    """`content_digest` is of what was uploaded: a repeat under the same id must have the same.

    `state` is proposed, accepted or rejected; only accepted feedback grades. `author` is the name of who gave it, as it
    was then; `author_kind` is person, program or model. Feedback from before there were authors has none.
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
    """`position` is the completion's place in the answer; `task_id`, the feedback's, tells what is graded by one index."""

    organization_id: str
    feedback_id: str
    completion_id: str
    position: int
    task_id: str


check_columns(FeedbackRow, feedback)
check_columns(FeedbackCompletionRow, feedback_completion)

_AMONG = Statement(lambda query: query.rows_by_key(query.rows(feedback), feedback.c.id, "ids"))
_MATCHED = Statement(
    lambda query: (
        query.rows(feedback_completion, "feedback_id", "completion_id")
        .where(query.in_list(feedback_completion.c.feedback_id, "ids"))
        .order_by(feedback_completion.c.feedback_id, feedback_completion.c.position)
    )
)
_GRADED = Statement(
    lambda query: query.rows_by_key(
        query.rows(feedback_completion, "task_id", "completion_id")
        .join(feedback, is_linked)
        .where(feedback.c.state == literal_column("'accepted'")),
        feedback_completion.c.completion_id,
        "ids",
    )
)


def add(tx: Tx, rows: Sequence[FeedbackRow]) -> None:
    tx.insert_many(feedback, rows)


def link_completions(tx: Tx, rows: Iterable[FeedbackCompletionRow]) -> None:
    """Say which completions feedback is about."""
    tx.insert_many(feedback_completion, list(rows))


def find_many(tx: Tx, ids: Iterable[str]) -> dict[str, FeedbackRow]:
    """Those of `ids` that are stored."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    return {row.id: row for row in map(FeedbackRow._make, tx.fetch(_AMONG, ids=wanted))}


def list_completion_ids(tx: Tx, ids: Sequence[str]) -> dict[str, list[str]]:
    """The completions, in their order, of each feedback in `ids`; those with none are left out."""
    if not ids:
        return {}
    found: dict[str, list[str]] = {}
    for feedback_id, completion_id in tx.fetch(_MATCHED, ids=list(ids)):
        found.setdefault(feedback_id, []).append(completion_id)
    return found


def remove(tx: Tx, feedback_id: str) -> bool:
    """Whether there was such feedback."""
    tx.connection.execute(tx.delete(feedback_completion).where(feedback_completion.c.feedback_id == feedback_id))
    return tx.connection.execute(tx.delete(feedback).where(feedback.c.id == feedback_id)).rowcount > 0


def unlink_completion(tx: Tx, completion_id: str) -> None:
    """Take a completion out of all feedback that is about it; the feedback stays."""
    tx.connection.execute(tx.delete(feedback_completion).where(feedback_completion.c.completion_id == completion_id))


def find_graded_pairs(tx: Tx, completion_ids: Sequence[str]) -> set[tuple[str, str]]:
    """The pairs (task, completion) of these completions that have accepted feedback."""
    if not completion_ids:
        return set()
    return set(tx.fetch(_GRADED, ids=list(completion_ids)))


def replace(tx: Tx, row: FeedbackRow) -> None:
    """Store another state, and the values that go with it."""
    changed = {"state": row.state, "json_values": row.json_values, "content_digest": row.content_digest}
    tx.connection.execute(tx.update(feedback).where(feedback.c.id == row.id).values(changed))


class Filters(NamedTuple):
    """What a list of feedback is narrowed to; None narrows nothing. The ends of the time are inclusive."""

    task_id: str | None = None
    completion_id: str | None = None
    state: str | None = None
    created_from: int | None = None
    created_to: int | None = None


_AT_ONCE = 200


def list_page(tx: Tx, filters: Filters, offset: int, limit: int) -> list[FeedbackRow]:
    """Feedback that passes the filters, newest first."""
    given = _given(filters)
    return list(map(FeedbackRow._make, tx.fetch(_page(*given), **given, offset=offset, limit=limit)))


def iterate_values(tx: Tx, filters: Filters) -> Iterator[tuple[str, str]]:
    """The ids and the values of all feedback that passes the filters, newest first, read some at a time."""
    given = _given(filters)
    last: dict[str, Any] = {}
    while found := tx.fetch(_values(*given, *last), **given, **last):
        tx.check_deadline()
        for _, feedback_id, json_values in found:
            yield feedback_id, json_values
        if len(found) < _AT_ONCE:
            return
        last = {"last_at": found[-1][0], "last_id": found[-1][1]}


def count(tx: Tx, filters: Filters) -> int:
    given = _given(filters)
    [(counted,)] = tx.fetch(_count(*given), **given)
    return int(counted)


def _given(filters: Filters) -> dict[str, Any]:
    given = {name: wanted for name, wanted in filters._asdict().items() if wanted is not None}
    # Databases use an index of some rows only where a statement says outright that it is about these.
    return given | ({"is_open": True} if filters.state not in (None, "accepted") else {})


@cache
def _page(*given: str) -> Statement:
    return Statement(
        lambda query: (
            _narrowed(query, given)
            .order_by(*_newest_first(given))
            .offset(bindparam("offset", type_=BigInteger()))
            .limit(bindparam("limit", type_=BigInteger()))
        )
    )


@cache
def _values(*given: str) -> Statement:
    return Statement(
        lambda query: (
            _narrowed(query, given)
            .with_only_columns(feedback.c.created_at, feedback.c.id, feedback.c.json_values)
            .order_by(*_newest_first(given))
            .limit(literal_column(str(_AT_ONCE)))
        )
    )


@cache
def _count(*given: str) -> Statement:
    return Statement(
        lambda query: select(func.count()).select_from(
            _narrowed(query, given).with_only_columns(feedback.c.id).subquery()
        )
    )


def _narrowed(query: QueryBuilder, given: Collection[str]) -> Select[Any]:
    """Feedback that passes the filters of these names; their values are given when the statement is run."""
    found = query.rows(feedback)
    at, id = _order(given)
    task_id: ColumnElement[str] = feedback.c.task_id
    state: ColumnElement[str] = feedback.c.state
    if "completion_id" in given:
        # Feedback on one completion is little. Without an index for all else SQLite has to begin at the completion,
        # instead of reading all feedback in its order.
        task_id, state = feedback_completion.c.task_id, feedback.c.state.concat(literal_column("''"))
        found = found.join(feedback_completion, is_linked).where(
            query.is_owned(feedback_completion),
            feedback_completion.c.completion_id == bindparam("completion_id", type_=Text()),
        )
    elif "is_open" in given:
        found = found.where(_not_accepted)
    if "task_id" in given:
        found = found.where(task_id == bindparam("task_id", type_=Text()))
    if "state" in given:
        found = found.where(state == bindparam("state", type_=Text()))
    if "created_from" in given:
        found = found.where(at >= bindparam("created_from", type_=BigInteger()))
    if "created_to" in given:
        found = found.where(at <= bindparam("created_to", type_=BigInteger()))
    if "last_id" in given:
        last = tuple_(bindparam("last_at", type_=BigInteger()), bindparam("last_id", type_=Text()))
        found = found.where(tuple_(at, id) < last)
    return found


def _order(given: Collection[str]) -> tuple[ColumnElement[int], ColumnElement[str]]:
    """What lists are ordered by; of one completion in a way for which there is no index."""
    at: ColumnElement[int] = feedback.c.created_at
    return at + literal_column("0", BigInteger()) if "completion_id" in given else at, feedback.c.id


def _newest_first(given: Collection[str]) -> list[ColumnElement[Any]]:
    return [column.desc() for column in _order(given)]
