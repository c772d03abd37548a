"""The statements with which the roll-up reads completions: the next ones to cover, and those that were changed."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Select, Text, bindparam, tuple_

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.store.completion_tags import completion_tag, list_common_tags
from log10_server.store.completions import completion, shown_status
from log10_server.store.rollups import Watermark

# Stands for all completions where otherwise the key of a tag stands. No tag has this key.
ALL_COMPLETIONS = 0


class CoveredCompletion(NamedTuple):
    """The columns of a completion that summaries are made of, and the lists that the completion is on.

    `lists` has ALL_COMPLETIONS and the keys of its common tags. It has a single tag when the completion is added only
    to the summaries of that tag, because the tag has just become common.
    """

    id: str
    created_at: int
    model: str | None
    status: str
    input_tokens: int | None
    output_tokens: int | None
    duration: float | None
    lists: tuple[int, ...]


def find_end(tx: Tx, watermark: Watermark, number: int) -> Watermark | None:
    """The position of the completion that is the `number`-th above the watermark; None when there are fewer."""
    rows = tx.fetch(_NTH_ABOVE, **_above(watermark), offset=number - 1)
    return Watermark(*rows[0]) if rows else None


def list_next(tx: Tx, watermark: Watermark, limit: int, tag_bytes: int) -> list[CoveredCompletion]:
    """The oldest completions above the watermark, oldest first, `limit` at most.

    The list ends with the completion whose tags make the JSON of all tags on the list `tag_bytes` long.
    """
    rows: list[tuple[Any, ...]] = []
    bytes_left = tag_bytes
    for *row, size in tx.iterate(_NEXT, **_above(watermark), limit=limit):
        rows.append(tuple(row))
        bytes_left -= size
        if bytes_left <= 0:
            break
    return _with_lists(tx, rows)


def list_many(tx: Tx, completion_ids: Iterable[str]) -> list[CoveredCompletion]:
    """The completions with these ids, as they are stored now."""
    return _with_lists(tx, tx.fetch(_BY_ID, ids=sorted(completion_ids)))


def list_with_tag(tx: Tx, tag_id: int, watermark: Watermark) -> list[CoveredCompletion]:
    """The completions at or below the watermark that have the tag, on no other list than that of the tag."""
    values = {"end_at": watermark.created_at, "end_id": watermark.completion_id}
    return [CoveredCompletion._make((*row, (tag_id,))) for row in tx.fetch(_WITH_TAG, tag_id=tag_id, **values)]


def _with_lists(tx: Tx, rows: Sequence[tuple[Any, ...]]) -> list[CoveredCompletion]:
    common = list_common_tags(tx, [row[0] for row in rows])
    return [CoveredCompletion._make((*row, (ALL_COMPLETIONS, *common.get(row[0], ())))) for row in rows]


def _above(watermark: Watermark) -> dict[str, Any]:
    return {"last_at": watermark.created_at, "last_id": watermark.completion_id}


_position = tuple_(completion.c.created_at, completion.c.id)
_end = tuple_(bindparam("end_at", type_=BigInteger()), bindparam("end_id", type_=Text()))
_last = tuple_(bindparam("last_at", type_=BigInteger()), bindparam("last_id", type_=Text()))


def _columns(query: QueryBuilder) -> Select[Any]:
    columns = ("id", "created_at", "model", "input_tokens", "output_tokens", "duration")
    rows = query.rows(completion, *columns[:3])
    return rows.add_columns(shown_status, *(completion.c[name] for name in columns[3:]))


_NTH_ABOVE = Statement(
    lambda query: (
        query.rows(completion, "created_at", "id")
        .where(_position > _last)
        .order_by(completion.c.created_at, completion.c.id)
        .offset(bindparam("offset", type_=BigInteger()))
        .limit(1)
    )
)
_NEXT = Statement(
    lambda query: (
        _columns(query)
        .add_columns(query.size(completion.c.tags))
        .where(_position > _last)
        .order_by(completion.c.created_at, completion.c.id)
        .limit(bindparam("limit", type_=BigInteger()))
    )
)
_BY_ID = Statement(lambda query: query.rows_by_key(_columns(query), completion.c.id, "ids"))
_WITH_TAG = Statement(
    lambda query: (
        _columns(query)
        .join(
            completion_tag,
            (completion_tag.c.organization_id == completion.c.organization_id)
            & (completion_tag.c.completion_id == completion.c.id),
        )
        .where(
            query.is_owned(completion_tag),
            completion_tag.c.tag_id == bindparam("tag_id", type_=BigInteger()),
            tuple_(completion_tag.c.created_at, completion_tag.c.completion_id) <= _end,
        )
    )
)
