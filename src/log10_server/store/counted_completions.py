"""Pages of completions that begin at an offset, and the numbers of completions of lists (`GET /api/completions`).

All completions, and those with each common tag, are lists whose rows are counted by ranges (`store/counted_ranges`).
These counts are a summary of the roll-up (`services/rollup`): they cover the completions up to its watermark. The few
completions above it are counted by a query.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import BigInteger, Select, Text, bindparam, func, select, tuple_

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.store import counted_ranges
from log10_server.store.completion_tags import completion_tag, find_common, select_with_all_tags
from log10_server.store.completions import Filters, completion
from log10_server.store.counted_ranges import NEWEST, CountedList, Position, RowChange, Start
from log10_server.store.covered import ALL_COMPLETIONS, CoveredCompletion
from log10_server.store.rollups import Watermark, find_watermark

# Where the rows must be counted one by one, counting stops at this number (docs/api.md, "Envelopes").
MAX_COUNTED: Final = 10_000

# The summary


def add(tx: Tx, rows: Sequence[CoveredCompletion]) -> None:
    """Count these completions in their lists."""
    counted_ranges.store_changes(tx, counted_ranges.locate(tx, _changes(rows, 1)))


def remove(tx: Tx, rows: Sequence[CoveredCompletion]) -> None:
    """Count these completions no longer. They must have been added as they are here."""
    counted_ranges.store_changes(tx, counted_ranges.locate(tx, _changes(rows, -1)))


def _changes(rows: Iterable[CoveredCompletion], difference: int) -> Iterator[RowChange]:
    lists = {key: _counted_list(key) for key in {key for row in rows for key in row.lists}}
    for row in rows:
        position = Position(row.created_at, row.id)
        for key in row.lists:
            yield RowChange(lists[key], position, difference)


def _counted_list(key: int) -> CountedList:
    """The list of all completions, or of those with a common tag."""
    if key == ALL_COMPLETIONS:
        return CountedList("completion", _keys_of_all, {})
    return CountedList(f"completion:{key}", _keys_of_tag, {"tag_id": key})


# Pages and totals


def list_page(tx: Tx, filters: Filters, offset: int, limit: int) -> list[str]:
    """The ids of a page of the completions that pass the filters, newest first. The first `offset` are skipped.

    Only `ids`, `tag_ids` and the range of time of the filters are used.
    """
    return [position.id for position in _list_keys(tx, filters, offset, limit)]


def count(tx: Tx, filters: Filters) -> int:
    """How many completions pass the filters. Where they must be counted one by one, MAX_COUNTED at most."""
    if filters.ids is not None:
        return len(_find_keys(tx, filters, filters.ids))
    if (key := _key_of_single_list(filters)) is None:
        keys = _select_with_all_tags(tx, filters) if filters.tag_ids else None
        return 0 if keys is None else tx.connection.scalar(_count(keys.limit(MAX_COUNTED))) or 0
    values = _values(key)
    if not _is_counted(tx, key):
        return _number_of_keys(tx, {**values, **_range_of_time(filters)}, MAX_COUNTED)
    watermark = find_watermark(tx)
    counted = _counted_list(key)
    uncounted = {**_range_of_time(filters._replace(created_from=None)), **_above(watermark, filters.created_from)}
    number = _number_of_keys(tx, {**values, **uncounted}, MAX_COUNTED)
    if filters.created_from is None:
        number += counted_ranges.total(tx, [counted])
    else:
        number += counted_ranges.count_from(tx, [counted], Position(filters.created_from, ""))
    if filters.created_to is not None:
        number -= counted_ranges.count_from(tx, [counted], Position(filters.created_to + 1, ""))
    return max(number, 0)


def _list_keys(tx: Tx, filters: Filters, offset: int, limit: int) -> list[Position]:
    """The positions of the completions of a page, newest first."""
    if filters.ids is not None:
        return _find_keys(tx, filters, filters.ids)[offset : offset + limit]
    if filters.tag_ids is not None and not filters.tag_ids:
        return []
    if (key := _key_of_single_list(filters)) is None:
        return [
            Position(*row)
            for row in tx.connection.execute(_select_with_all_tags(tx, filters).offset(offset).limit(limit))
        ]
    values = {**_values(key), **_range_of_time(filters)}
    if not counted_ranges.is_small(tx, offset) and _is_counted(tx, key):
        start = _find_start(tx, key, filters, offset)
        if start is None:
            return []
        # The rows that are newer than `created_to` are among those that are skipped.
        values.pop("created_to", None)
        values |= {"last_at": start.before.created_at, "last_id": start.before.id}
        offset = start.skipped
    return [Position(*row) for row in tx.fetch(_page(*values), **values, offset=offset, limit=limit)]


def _find_start(tx: Tx, key: int, filters: Filters, offset: int) -> Start | None:
    """Where the row at `offset` of a counted list is, among the completions that are not newer than the filters say."""
    watermark = find_watermark(tx)
    counted = _counted_list(key)
    number_above = _number_of_keys(tx, {**_values(key), **_above(watermark)})
    if filters.created_to is not None:
        newest = filters.created_to + 1
        offset += _number_of_keys(tx, {**_values(key), **_above(watermark, newest)})
        offset += counted_ranges.count_from(tx, [counted], Position(newest, ""))
    if offset < number_above:
        return Start(NEWEST, offset)
    start = counted_ranges.find_start(tx, [counted], offset - number_above)
    if start is not None and start.before == NEWEST:
        return Start(NEWEST, start.skipped + number_above)
    return start


def _find_keys(tx: Tx, filters: Filters, ids: Sequence[str]) -> list[Position]:
    """The positions of those of the completions `ids` that pass the other filters, newest first."""
    distinct = sorted(set(ids))
    stored = [Position(*row[:2]) for row in tx.fetch(_BY_ID, ids=distinct)] if distinct else []
    created_from, created_to = filters.created_from, filters.created_to
    keys = [
        position
        for position in stored
        if (created_from is None or created_from <= position.created_at)
        and (created_to is None or position.created_at <= created_to)
    ]
    if filters.tag_ids is not None:
        tag_ids = set(filters.tag_ids)
        tags_of: dict[str, set[int]] = {}
        if keys and tag_ids:
            for completion_id, tag_id in tx.fetch(_TAGS_OF, ids=sorted(position.id for position in keys)):
                tags_of.setdefault(completion_id, set()).add(tag_id)
        keys = [position for position in keys if tag_ids and tag_ids <= tags_of.get(position.id, set())]
    return sorted(keys, reverse=True)


def _key_of_single_list(filters: Filters) -> int | None:
    """The key of the list that the filters without ids name; None for none or several tags."""
    if filters.tag_ids is None:
        return ALL_COMPLETIONS
    distinct = set(filters.tag_ids)
    return distinct.pop() if len(distinct) == 1 else None


def _is_counted(tx: Tx, key: int) -> bool:
    return key == ALL_COMPLETIONS or bool(find_common(tx, [key]))


def _values(key: int) -> dict[str, Any]:
    return {} if key == ALL_COMPLETIONS else {"tag_id": key}


def _above(watermark: Watermark, created_from: int | None = None) -> dict[str, Any]:
    """The bounds of the rows that are not counted, and not older than `created_from`.

    They are one position. Of two lower bounds SQLite would use one, and check all rows above it for the other.
    """
    position = watermark if created_from is None else max(watermark, Watermark(created_from, ""))
    return {"above_at": position.created_at, "above_id": position.completion_id}


def _range_of_time(filters: Filters) -> dict[str, Any]:
    ends = {"created_from": filters.created_from, "created_to": filters.created_to}
    return {name: instant for name, instant in ends.items() if instant is not None}


def _select_with_all_tags(tx: Tx, filters: Filters) -> Select[Any]:
    """The keys of the completions that have several tags. Only an index is read for rows that are skipped."""
    tagged, index, _ = select_with_all_tags(tx, filters.tag_ids or ())
    keys = tagged.with_only_columns(index.c.created_at, index.c.completion_id)
    if filters.created_from is not None:
        keys = keys.where(index.c.created_at >= filters.created_from)
    if filters.created_to is not None:
        keys = keys.where(index.c.created_at <= filters.created_to)
    return keys.order_by(index.c.created_at.desc(), index.c.completion_id.desc())


def _count(keys: Select[Any]) -> Select[Any]:
    return select(func.count()).select_from(keys.subquery())


def _number_of_keys(tx: Tx, values: dict[str, Any], at_most: int = NEWEST.created_at) -> int:
    [(number,)] = tx.fetch(_number(*values), **values, limit=at_most)
    return int(number)


def _keys_of_all(query: QueryBuilder) -> Select[Any]:
    return query.rows(completion, "created_at", "id")


def _keys_of_tag(query: QueryBuilder) -> Select[Any]:
    rows = query.rows(completion_tag, "created_at", "completion_id")
    return rows.where(completion_tag.c.tag_id == bindparam("tag_id", type_=BigInteger()))


def _filtered(query: QueryBuilder, parameters: Sequence[str]) -> Select[Any]:
    """A query for the keys of all completions, or of those with a tag, within the bounds of these parameters."""
    rows = _keys_of_tag(query) if "tag_id" in parameters else _keys_of_all(query)
    created_at, position = rows.selected_columns[0], tuple_(*rows.selected_columns)
    if "created_from" in parameters:
        rows = rows.where(created_at >= bindparam("created_from", type_=BigInteger()))
    if "created_to" in parameters:
        rows = rows.where(created_at <= bindparam("created_to", type_=BigInteger()))
    if "above_id" in parameters:
        rows = rows.where(position > _position("above"))
    if "last_id" in parameters:
        rows = rows.where(position < _position("last"))
    return rows


def _position(name: str) -> Any:
    return tuple_(bindparam(f"{name}_at", type_=BigInteger()), bindparam(f"{name}_id", type_=Text()))


@cache
def _page(*parameters: str) -> Statement:
    def build(query: QueryBuilder) -> Select[Any]:
        keys = _filtered(query, parameters)
        newest = keys.order_by(*(column.desc() for column in keys.selected_columns))
        return newest.offset(bindparam("offset", type_=BigInteger())).limit(bindparam("limit", type_=BigInteger()))

    return Statement(build)


@cache
def _number(*parameters: str) -> Statement:
    return Statement(lambda query: _count(_filtered(query, parameters).limit(bindparam("limit", type_=BigInteger()))))


# No index has the column `duration`. Without it, SQLite would scan an index that has all the columns, instead of looking
# up each id.
_BY_ID = Statement(
    lambda query: query.rows_by_key(query.rows(completion, "created_at", "id", "duration"), completion.c.id, "ids")
)
_TAGS_OF = Statement(
    lambda query: query.rows_by_key(
        query.rows(completion_tag, "completion_id", "tag_id"), completion_tag.c.completion_id, "ids"
    )
)
