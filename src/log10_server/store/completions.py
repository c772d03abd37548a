"""Completions, and lists of them."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    ColumnElement,
    Double,
    Select,
    Text,
    bindparam,
    case,
    event,
    false,
    func,
    literal,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.schema import ExecutableDDLElement

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.schema import Instant, Key, Payload, check_columns, foreign_key, ordered_index, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.store.completion_tags import remove_tags, select_with_all_tags

completion = owned_table(
    "completion",
    ("id",),
    Column("id", Key),
    Column("created_at", Instant, nullable=False),
    Column("session_id", Key),
    Column("kind", Key),
    Column("status", Key),
    Column("model", Key),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("duration", Double),
    Column("failure_kind", Text),
    Column("failure_reason", Text),
    Column("tags", Payload),
    Column("request", Payload),
    Column("response", Payload),
    Column("stacktrace", Payload),
    foreign_key("session_id", "session"),
)
# Postgres would compress large payloads, at ten times the cost of all else. Rows of up to 4 KB stay in one piece.
_AS_THEY_ARE: ExecutableDDLElement = DDL(  # type: ignore[no-untyped-call]
    "ALTER TABLE completion ALTER COLUMN request SET STORAGE EXTERNAL, ALTER COLUMN response SET STORAGE EXTERNAL, "
    "ALTER COLUMN stacktrace SET STORAGE EXTERNAL, SET (toast_tuple_target = 4080)"
)
event.listen(completion, "after_create", _AS_THEY_ARE.execute_if(dialect="postgresql"))
ordered_index(completion, "created_at", "id")
ordered_index(completion, "session_id", "created_at", "id")


Kind = Literal["chat", "prompt"]
Status = Literal["started", "finished", "failed"]


class CompletionRow(NamedTuple):
    """One LLM request and response; None is what no row has said yet.

    `tags` is a JSON list in the order given (`completion_tag` is the index over it), `duration` is in seconds.
    """

    organization_id: str
    id: str
    created_at: int
    session_id: str | None
    kind: Kind | None
    status: Status | None
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    duration: float | None
    failure_kind: str | None
    failure_reason: str | None
    tags: str | None
    request: str | None
    response: str | None
    stacktrace: str | None


check_columns(CompletionRow, completion)

# What is shown where no row has said it (docs/api.md, "Completions").
shown_kind = func.coalesce(completion.c.kind, "chat")
shown_status = func.coalesce(completion.c.status, case((completion.c.response.is_(None), "started"), else_="finished"))


_AMONG = Statement(lambda query: query.rows_by_key(query.rows(completion), completion.c.id, "ids"))
_EXISTING = Statement(lambda query: query.rows_by_key(query.rows(completion, "id"), completion.c.id, "ids"))
_MODELS = Statement(lambda query: query.rows_by_key(query.rows(completion, "id", "model"), completion.c.id, "ids"))


def find(tx: Tx, completion_id: str) -> CompletionRow | None:
    return find_many(tx, [completion_id]).get(completion_id)


def find_many(tx: Tx, ids: Iterable[str]) -> dict[str, CompletionRow]:
    """Those of `ids` that are stored."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    return {row.id: row for row in map(CompletionRow._make, tx.fetch(_AMONG, ids=wanted))}


def add(tx: Tx, rows: Sequence[CompletionRow]) -> None:
    tx.insert_many(completion, rows)


def replace(tx: Tx, rows: Sequence[CompletionRow]) -> None:
    """Store what is known now of completions that are there."""
    tx.replace_many(completion, rows)


def remove(tx: Tx, completion_id: str) -> None:
    remove_tags(tx, [completion_id])
    tx.connection.execute(tx.delete(completion).where(completion.c.id == completion_id))


def find_existing_ids(tx: Tx, ids: Iterable[str]) -> set[str]:
    wanted = sorted(set(ids))
    return {id for (id,) in tx.fetch(_EXISTING, ids=wanted)} if wanted else set()


def find_models(tx: Tx, ids: Iterable[str]) -> dict[str, str | None]:
    """The model of each of these completions."""
    return dict(tx.fetch(_MODELS, ids=sorted(ids)))


_SHORT_REQUESTS = Statement(
    lambda query: query.rows(completion, "id", "request").where(
        query.in_list(completion.c.id, "ids"), func.length(completion.c.request) <= literal_column(str(1 << 16))
    )
)


def find_short_requests(tx: Tx, ids: Iterable[str]) -> dict[str, str]:
    """The requests of these completions; those that take long to read are left out."""
    return dict(tx.fetch(_SHORT_REQUESTS, ids=sorted(ids)))


class Filters(NamedTuple):
    """What a list of completions is narrowed to; None narrows nothing. The ends of the time are inclusive."""

    ids: Sequence[str] | None = None
    tag_ids: Sequence[int] | None = None
    session_id: str | None = None
    status: str | None = None
    kind: str | None = None
    model: str | None = None
    created_from: int | None = None
    created_to: int | None = None


class Cursor(NamedTuple):
    """Where a page ended: the next one goes on behind it."""

    created_at: int
    id: str


def list_after(tx: Tx, filters: Filters, after: Cursor | None, limit: int) -> list[CompletionRow]:
    """Completions that pass the filters, newest first, those behind `after`."""
    if filters.ids is None and filters.tag_ids is None:
        return _plain_page(
            tx, filters, {} if after is None else {"last_at": after.created_at, "last_id": after.id}, limit
        )
    found, at, id = filtered(tx, filters)
    if after is not None:
        found = found.where(tuple_(at, id) < tuple_(*map(literal, after)))
    return _listed(tx, found, at, id, 0, limit)


def _plain_page(tx: Tx, filters: Filters, after: dict[str, Any], limit: int) -> list[CompletionRow]:
    """As `page`, where nothing is asked of ids and tags: by statements that are built once."""
    given = {name: wanted for name, wanted in filters._asdict().items() if wanted is not None} | after
    return list(map(CompletionRow._make, tx.fetch(_plain(*given), **given, limit=limit)))


@cache
def _plain(*given: str) -> Statement:
    def build(query: QueryBuilder) -> Select[Any]:
        found = query.rows(completion)
        for name, column in _PLAIN.items():
            if name in given:
                found = found.where(column == bindparam(name, type_=Text()))
        if "created_from" in given:
            found = found.where(completion.c.created_at >= bindparam("created_from", type_=BigInteger()))
        if "created_to" in given:
            found = found.where(completion.c.created_at <= bindparam("created_to", type_=BigInteger()))
        if "last_id" in given:
            last = tuple_(bindparam("last_at", type_=BigInteger()), bindparam("last_id", type_=Text()))
            found = found.where(tuple_(completion.c.created_at, completion.c.id) < last)
        newest = found.order_by(completion.c.created_at.desc(), completion.c.id.desc())
        return newest.limit(bindparam("limit", type_=BigInteger()))

    return Statement(build)


_PLAIN = {
    "session_id": completion.c.session_id,
    "status": shown_status,
    "kind": shown_kind,
    "model": completion.c.model,
}


def list_page(tx: Tx, filters: Filters, offset: int, limit: int) -> list[CompletionRow]:
    """Completions that pass the filters, newest first, behind the first `offset`."""
    return _listed(tx, *filtered(tx, filters), offset, limit)


def _listed(
    tx: Tx, found: Select[Any], at: ColumnElement[int], id: ColumnElement[str], offset: int, limit: int
) -> list[CompletionRow]:
    # With the columns of the order among those selected SQLite reads two indexes as one (`AllTagged`).
    newest = found.add_columns(at.label("at"), id.label("its_id")).order_by(at.desc(), id.desc())
    return [CompletionRow._make(row[:-2]) for row in tx.connection.execute(newest.offset(offset).limit(limit))]


def count(tx: Tx, filters: Filters) -> int:
    found, _, id = filtered(tx, filters)
    return tx.connection.scalar(select(func.count()).select_from(found.with_only_columns(id).subquery())) or 0


def filtered(tx: Tx, filters: Filters) -> tuple[Select[Any], ColumnElement[int], ColumnElement[str]]:
    """The completions that pass, and the columns that give their order."""
    found: Select[Any]
    at: ColumnElement[int]
    id: ColumnElement[str]
    if filters.tag_ids is None:
        found, at, id = tx.rows(completion), completion.c.created_at, completion.c.id
    elif not filters.tag_ids:
        found, at, id = tx.rows(completion).where(false()), completion.c.created_at, completion.c.id
    else:
        # The index over tags has the order of the list, so the page ends as soon as it is full.
        all_tagged, by, _ = select_with_all_tags(tx, filters.tag_ids)
        at, id = by.c.created_at, by.c.completion_id
        theirs = (completion.c.organization_id == by.c.organization_id) & (completion.c.id == id)
        found = all_tagged.join(completion, theirs).with_only_columns(*completion.c)
    for name, column in _PLAIN.items():
        if (wanted := getattr(filters, name)) is not None:
            found = found.where(column == wanted)
    if filters.ids is not None:
        found = found.where(tx.in_list(completion.c.id, filters.ids))
    if filters.created_from is not None:
        found = found.where(at >= filters.created_from)
    if filters.created_to is not None:
        found = found.where(at <= filters.created_to)
    return found, at, id


def list_in_session(tx: Tx, session_id: str, after: Cursor | None, limit: int) -> list[CompletionRow]:
    """The completions of a session in the order in which they began, those behind `after`."""
    found = tx.rows(completion).where(completion.c.session_id == session_id)
    if after is not None:
        found = found.where(tuple_(completion.c.created_at, completion.c.id) > tuple_(*map(literal, after)))
    in_order = found.order_by(completion.c.created_at, completion.c.id).limit(limit)
    return [CompletionRow(*row) for row in tx.connection.execute(in_order)]
