"""The table of completions, and the statements that store, find, filter and list them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    ColumnElement,
    Double,
    Select,
    Text,
    case,
    event,
    false,
    func,
    literal,
    literal_column,
    tuple_,
)
from sqlalchemy.schema import ExecutableDDLElement

from log10_server.db.schema import Instant, Key, Payload, check_columns, ordered_index, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.store.completion_tags import remove_tags, select_with_all_tags
from log10_server.store.pieces import Piece, PieceReader, Unread
from log10_server.store.rollups import NOTHING_COVERED, Watermark, rollup, select_watermark

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
)
# By default Postgres compresses large payloads, which costs ten times as much as everything else in a write. The higher
# `toast_tuple_target` keeps rows of up to 4 KB in one piece.
_STORE_UNCOMPRESSED: ExecutableDDLElement = DDL(  # type: ignore[no-untyped-call]
    "ALTER TABLE completion ALTER COLUMN request SET STORAGE EXTERNAL, ALTER COLUMN response SET STORAGE EXTERNAL, "
    "ALTER COLUMN stacktrace SET STORAGE EXTERNAL, SET (toast_tuple_target = 4080)"
)
event.listen(completion, "after_create", _STORE_UNCOMPRESSED.execute_if(dialect="postgresql"))
ordered_index(completion, "created_at", "id")
ordered_index(completion, "session_id", "created_at", "id")
ordered_index(completion, "model", "created_at", "id")


Kind = Literal["chat", "prompt"]
Status = Literal["started", "finished", "failed"]


class CompletionRow(NamedTuple):
    """One LLM request and response. A field is None until a client has sent it.

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


# The defaults that are shown for a kind or status that no client has sent (docs/api.md, "Completions"). The values stand
# in the SQL as they are, because a database uses a partial index only for a statement that repeats its condition.


def _literal(value: str) -> ColumnElement[str]:
    return literal_column(f"'{value}'", Text())


def kind_of(table: Any) -> ColumnElement[str]:
    """The kind that is shown for a row of `table`, which is `completion` or an alias of it."""
    kind: ColumnElement[str] = func.coalesce(table.c.kind, _literal("chat"))
    return kind


def status_of(table: Any) -> ColumnElement[str]:
    """The status that is shown for a row of `table`, which is `completion` or an alias of it."""
    default = case((table.c.response.is_(None), _literal("started")), else_=_literal("finished"))
    status: ColumnElement[str] = func.coalesce(table.c.status, default)
    return status


def has_kind(table: Any, kind: Kind) -> ColumnElement[bool]:
    """A condition: the kind that is shown for a row of `table` is `kind`."""
    return kind_of(table) == _literal(kind)


def has_status(table: Any, status: Status) -> ColumnElement[bool]:
    """A condition: the status that is shown for a row of `table` is `status`."""
    return status_of(table) == _literal(status)


shown_kind = kind_of(completion)
shown_status = status_of(completion)

# Lists by status or kind are served by partial indexes of what is rare, so an ordinary completion is in none of them.
ordered_index(completion, "created_at", "id", only=has_status(completion, "failed"), part="failed")
ordered_index(completion, "created_at", "id", only=has_status(completion, "started"), part="started")
ordered_index(completion, "created_at", "id", only=has_kind(completion, "prompt"), part="prompt")


_BY_ID = Statement(lambda query: query.rows_by_key(query.rows(completion), completion.c.id, "ids"))
_BY_ID_WITH_WATERMARK = Statement(
    lambda query: query.rows_by_key(
        query.rows(completion).add_columns(
            *(
                select_watermark(query).with_only_columns(column).scalar_subquery().label(f"watermark_{column.name}")
                for column in (rollup.c.created_at, rollup.c.completion_id)
            )
        ),
        completion.c.id,
        "ids",
    )
)
_EXISTING_IDS = Statement(lambda query: query.rows_by_key(query.rows(completion, "id"), completion.c.id, "ids"))
# The index on the model has all columns of this query but `duration`. Without that, SQLite would read the whole index.
_MODELS = Statement(
    lambda query: query.rows_by_key(query.rows(completion, "id", "model", "duration"), completion.c.id, "ids")
)


def find(tx: Tx, completion_id: str) -> CompletionRow | None:
    """The completion with this id, or None."""
    return find_many(tx, [completion_id]).get(completion_id)


def find_many(tx: Tx, ids: Iterable[str]) -> dict[str, CompletionRow]:
    """The completions with these ids, by id. Unknown ids are left out."""
    distinct = sorted(set(ids))
    if not distinct:
        return {}
    return {row.id: row for row in map(CompletionRow._make, tx.fetch(_BY_ID, ids=distinct))}


def find_many_and_watermark(tx: Tx, ids: Iterable[str]) -> tuple[dict[str, CompletionRow], Watermark | None]:
    """The completions with these ids, and the position up to which the summaries cover completions (`store/rollups`).

    One statement finds both, so that a write needs no further round trip. The position is None when there is no such
    completion.
    """
    distinct = sorted(set(ids))
    rows = tx.fetch(_BY_ID_WITH_WATERMARK, ids=distinct) if distinct else []
    by_id = {row.id: row for row in (CompletionRow._make(row[:-2]) for row in rows)}
    if not rows:
        return by_id, None
    created_at, completion_id = rows[0][-2:]
    return by_id, NOTHING_COVERED if created_at is None else Watermark(created_at, completion_id)


def add(tx: Tx, rows: Sequence[CompletionRow]) -> None:
    """Insert new completions."""
    tx.insert_many(completion, rows)


def replace(tx: Tx, rows: Sequence[CompletionRow]) -> None:
    """Replace the rows of existing completions."""
    tx.replace_many(completion, rows)


def remove(tx: Tx, completion_id: str) -> None:
    """Delete a completion, and its tags from the index."""
    remove_tags(tx, [completion_id])
    tx.connection.execute(tx.delete(completion).where(completion.c.id == completion_id))


def find_existing_ids(tx: Tx, ids: Iterable[str]) -> set[str]:
    """Those of `ids` for which a completion exists."""
    distinct = sorted(set(ids))
    return {completion_id for (completion_id,) in tx.fetch(_EXISTING_IDS, ids=distinct)} if distinct else set()


def find_models(tx: Tx, ids: Iterable[str]) -> dict[str, str | None]:
    """The model of each of these completions."""
    return {completion_id: model for completion_id, model, _ in tx.fetch(_MODELS, ids=sorted(ids))}


_SHORT_REQUESTS = Statement(
    lambda query: query.rows(completion, "id", "request").where(
        query.in_list(completion.c.id, "ids"), func.length(completion.c.request) <= literal_column(str(1 << 16))
    )
)


def find_short_requests(tx: Tx, ids: Iterable[str]) -> dict[str, str]:
    """The requests of these completions, by id. Requests of more than 65 536 characters are left out."""
    return dict(tx.fetch(_SHORT_REQUESTS, ids=sorted(ids)))


_PIECES = PieceReader(completion, CompletionRow._make, ("request", "response", "stacktrace"))


def read_piece(tx: Tx, unread: Unread, max_bytes: int) -> Piece[CompletionRow]:
    """Read completions by their ids, with at most this number of bytes of payloads (`PieceReader.read`)."""
    return _PIECES.read(tx, unread, max_bytes)


class Filters(NamedTuple):
    """The filters of a list of completions; None means no filter. `created_from` and `created_to` are inclusive."""

    ids: Sequence[str] | None = None
    tag_ids: Sequence[int] | None = None
    session_id: str | None = None
    status: str | None = None
    kind: str | None = None
    model: str | None = None
    created_from: int | None = None
    created_to: int | None = None


class Cursor(NamedTuple):
    """The last row of a page. The next page begins after it."""

    created_at: int
    id: str


_FILTERED_COLUMNS: dict[str, ColumnElement[Any]] = {
    "session_id": completion.c.session_id,
    "status": shown_status,
    "kind": shown_kind,
    "model": completion.c.model,
}


def _conditions(filters: Mapping[str, Any], created_at: ColumnElement[int]) -> Iterator[ColumnElement[bool]]:
    """The conditions of these filters, except `ids` and `tag_ids`."""
    for name, column in _FILTERED_COLUMNS.items():
        if name in filters:
            yield column == filters[name]
    if "created_from" in filters:
        yield created_at >= filters["created_from"]
    if "created_to" in filters:
        yield created_at <= filters["created_to"]


def filtered(tx: Tx, filters: Filters) -> tuple[Select[Any], ColumnElement[int], ColumnElement[str]]:
    """A query for the completions that pass the filters, and the two columns that give their order."""
    rows: Select[Any]
    created_at: ColumnElement[int]
    completion_id: ColumnElement[str]
    if filters.tag_ids:
        # The index of tags has the order of the list, so the database stops reading when the page is full.
        tagged, index, _ = select_with_all_tags(tx, filters.tag_ids)
        created_at, completion_id = index.c.created_at, index.c.completion_id
        is_same = (completion.c.organization_id == index.c.organization_id) & (completion.c.id == completion_id)
        rows = tagged.join(completion, is_same).with_only_columns(*completion.c)
    else:
        rows, created_at, completion_id = tx.rows(completion), completion.c.created_at, completion.c.id
        if filters.tag_ids is not None:  # the list is empty, because one of the tags does not exist
            rows = rows.where(false())
    if filters.ids is not None:
        rows = rows.where(tx.in_list(completion.c.id, filters.ids))
    set_filters = {name: value for name, value in filters._asdict().items() if value is not None}
    return rows.where(*_conditions(set_filters, created_at)), created_at, completion_id


def list_in_session(tx: Tx, session_id: str, after: Cursor | None, limit: int) -> list[Cursor]:
    """The keys of a page of the completions of a session, oldest first. It begins after the cursor `after`."""
    rows = tx.rows(completion, "created_at", "id").where(completion.c.session_id == session_id)
    if after is not None:
        rows = rows.where(tuple_(completion.c.created_at, completion.c.id) > tuple_(*map(literal, after)))
    in_order = rows.order_by(completion.c.created_at, completion.c.id).limit(limit)
    return [Cursor(*row) for row in tx.connection.execute(in_order)]
