"""Counts of the rows of long lists, by ranges: they give the length of a list, and find the row at any offset.

A list is newest first, in the order of (`created_at`, `id`). It is cut into ranges of some thousand rows, and the number
of rows of each range is stored. The length of the list is the sum of these numbers. To find the row at an offset, the
numbers are added up until the sum reaches the offset; then the database has to skip only the rows of one range.

Each transaction that adds a row to a list or removes one also changes the number of the range that the row is in. A
range includes its first position and ends before the first position of the next newer range. The oldest range of each
list begins at `OLDEST`, so every position is in a range. A list without rows may have no ranges.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    Select,
    Text,
    bindparam,
    func,
    literal_column,
    select,
    tuple_,
)

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.schema import Instant, Key, check_columns, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx

list_range = owned_table(
    "list_range",
    ("list_name", "created_at", "id"),
    Column("list_name", Key),
    Column("created_at", Instant, autoincrement=False),
    Column("id", Key),
    Column("length", BigInteger, nullable=False),
)


class RangeRow(NamedTuple):
    """A range of a list: its first position, which is that of its oldest row or lower, and how many rows it has."""

    organization_id: str
    list_name: str
    created_at: int
    id: str
    length: int


check_columns(RangeRow, list_range)


class Position(NamedTuple):
    """A position in the order of a list. Rows are compared with it by (`created_at`, `id`)."""

    created_at: int
    id: str


OLDEST: Final = Position(1 - 2**63, "")
NEWEST: Final = Position(2**63 - 1, "")  # no row has this position, so it is the end of the newest range


class CountedList(NamedTuple):
    """A list whose rows are counted.

    `keys` builds a query for the columns `created_at` and `id` of all its rows, in which no other columns may be
    selected. `values` has the values of the parameters of that query. The query may also return rows that are not
    counted yet, if they are newer than all rows that are.
    """

    name: str
    keys: Callable[[QueryBuilder], Select[Any]]
    values: dict[str, Any]


class Start(NamedTuple):
    """Where a page starts: skip `skipped` rows of those before the position `before`, which are older ones."""

    before: Position
    skipped: int


Ranges = list[tuple[Position, int]]  # first positions with numbers of rows, newest first


def is_small(tx: Tx, offset: int) -> bool:
    """Whether skipping the first `offset` rows takes less time than adding up the numbers of rows."""
    return offset < tx.thresholds.list_range_size // 4


def total(tx: Tx, lists: Sequence[CountedList]) -> int:
    """How many rows these lists have together."""
    return sum(int(length) for (length,) in tx.fetch_each(_TOTAL, "list_name", [each.name for each in lists]))


def count_from(tx: Tx, lists: Sequence[CountedList], position: Position) -> int:
    """How many rows of these lists are at `position` or newer."""
    by_name = _read(tx, lists)
    return sum(_count_from(tx, each, by_name[each.name], position) for each in lists)


def find_start(tx: Tx, lists: Sequence[CountedList], offset: int) -> Start | None:
    """Where the row at `offset` is in the list that has the rows of all these lists; None if that has fewer rows.

    The rows to skip are those of a few ranges at most, so their number does not depend on the length of the lists.
    """
    by_name = _read(tx, lists)
    number_of_rows = sum(length for ranges in by_name.values() for _, length in ranges)
    if offset >= number_of_rows:
        return None
    # All rows at or after `start` are those of the ranges that begin there or later, and of each other list some or all
    # of the rows of the next range. So the exact number of rows is known only after counting in these ranges.
    remaining = {name: [length for _, length in reversed(ranges)] for name, ranges in by_name.items()}
    in_order = sorted(
        ((start, length, name) for name, ranges in by_name.items() for start, length in ranges), reverse=True
    )
    before, at_least = NEWEST, 0
    for start, length, name in in_order:
        at_least += length
        remaining[name].pop()
        at_most = at_least + sum(lengths[-1] for other, lengths in remaining.items() if other != name and lengths)
        if at_most > offset:
            break
        before = start
    newer = sum(_count_from(tx, each, by_name[each.name], before) for each in lists)
    return Start(before, offset - newer)


class RowChange(NamedTuple):
    """A row that was added to a list (`difference` is 1) or removed from it (-1)."""

    counted_list: CountedList
    position: Position
    difference: int


class RangeChange(NamedTuple):
    """A range before a change, and by how many rows it changes. `end` is the first position of the next newer range."""

    counted_list: CountedList
    start: Position
    length: int
    end: Position
    difference: int


def locate(tx: Tx, changes: Iterable[RowChange]) -> list[RangeChange]:
    """The ranges that these changes belong to.

    This reads the database, and `store_changes` writes. In between the caller can buffer inserts.
    """
    by_list: dict[str, tuple[CountedList, list[RowChange]]] = {}
    for change in changes:
        by_list.setdefault(change.counted_list.name, (change.counted_list, []))[1].append(change)
    # Most rows are newer than all rows before them, so usually only the newest range of a list is read.
    ranges: dict[str, Ranges] = {name: [(OLDEST, 0)] for name in by_list}
    for name, created_at, row_id, length in tx.fetch_each(_NEWEST_RANGE, "list_name", sorted(by_list)):
        ranges[name] = [(Position(created_at, row_id), length)]
    older = [
        counted_list
        for name, (counted_list, of_list) in by_list.items()
        if min(change.position for change in of_list) < ranges[name][-1][0]
    ]
    if older:
        ranges |= _read(tx, older)
    return [
        located
        for name, (counted_list, of_list) in by_list.items()
        for located in _assign(counted_list, of_list, ranges[name])
    ]


def _assign(counted_list: CountedList, changes: Iterable[RowChange], ranges: Ranges) -> Iterator[RangeChange]:
    """Assign the changes of a list to its ranges. Ranges without a change are left out."""
    oldest_first = ranges[::-1]
    starts = [start for start, _ in oldest_first]
    differences: Counter[int] = Counter()
    for change in changes:
        differences[bisect_right(starts, change.position) - 1] += change.difference
    for number, difference in differences.items():
        end = starts[number + 1] if number + 1 < len(starts) else NEWEST
        yield RangeChange(counted_list, *oldest_first[number], end, difference)


def store_changes(tx: Tx, changes: Iterable[RangeChange]) -> None:
    """Change the numbers of rows of these ranges. The rows themselves must have been stored or deleted already.

    A range that becomes too long is split. A range that becomes empty is removed, which makes the next older one longer.
    """
    changed: list[RangeRow] = []
    emptied: list[RangeRow] = []
    for counted_list, start, length, _, difference in changes:
        if difference and (length + difference > 0 or start == OLDEST):
            changed.append(RangeRow(tx.organization_id, counted_list.name, *start, difference))
        elif difference:
            emptied.append(RangeRow(tx.organization_id, counted_list.name, *start, length))
    tx.add_numbers(list_range, sorted(changed))
    tx.remove_many(list_range, sorted(emptied))
    for change in changes:
        if change.difference > 0 and change.length + change.difference > 2 * tx.thresholds.list_range_size:
            _split(tx, change)


def _split(tx: Tx, long: RangeChange) -> None:
    """Split a range into ranges of the intended size, beginning with its oldest rows, until the rest is not too long."""
    counted_list, start, length, end, difference = long
    size = tx.thresholds.list_range_size
    cuts: list[Position] = []
    remaining = length + difference
    while remaining > 2 * size:
        bounds = _bounds(cuts[-1] if cuts else start, end)
        key_at = _statements(counted_list.keys).key_at
        keys = tx.fetch(key_at, **counted_list.values, **bounds, offset=size)
        if not keys:  # the number is wrong, as after a change by hand, which must not make every further write fail
            break
        cuts.append(Position(*keys[0]))
        remaining -= size
    if not cuts:
        return
    lengths = [size] * (len(cuts) - 1) + [remaining]
    new = [RangeRow(tx.organization_id, counted_list.name, *cut, rows) for cut, rows in zip(cuts, lengths, strict=True)]
    tx.insert_many(list_range, new)
    tx.add_numbers(list_range, [RangeRow(tx.organization_id, counted_list.name, *start, -sum(lengths))])


def _read(tx: Tx, lists: Iterable[CountedList]) -> dict[str, Ranges]:
    """The ranges of each of these lists, newest first."""
    by_name: dict[str, Ranges] = {each.name: [] for each in lists}
    for name, created_at, row_id, length in tx.fetch_each(_RANGES, "list_name", list(by_name)):
        by_name[name].append((Position(created_at, row_id), length))
    for ranges in by_name.values():
        ranges.sort(reverse=True)
    return by_name


def _count_from(tx: Tx, counted_list: CountedList, ranges: Ranges, position: Position) -> int:
    """How many rows of a list are at `position` or newer. Only rows of the range around it are counted."""
    newer = 0
    for start, length in ranges:
        if start > position:
            newer += length
            continue
        if start == position:
            return newer + length
        # The older rows are counted, because the table may have more rows above the last one that the list has.
        bounds = _bounds(start, position)
        [(older,)] = tx.fetch(_statements(counted_list.keys).number_of_keys, **counted_list.values, **bounds)
        return newer + max(length - int(older), 0)
    return newer


class _KeyStatements(NamedTuple):
    """Statements on the keys of a list between two positions: how many there are, and which one is at an offset.

    That offset counts from the oldest key on.
    """

    number_of_keys: Statement
    key_at: Statement


@cache
def _statements(keys: Callable[[QueryBuilder], Select[Any]]) -> _KeyStatements:
    return _KeyStatements(
        Statement(lambda query: select(func.count()).select_from(_between(keys(query)).subquery())),
        Statement(
            lambda query: _oldest_first(_between(keys(query))).offset(_number("offset")).limit(literal_column("1"))
        ),
    )


def _oldest_first(keys: Select[Any]) -> Select[Any]:
    return keys.order_by(*keys.selected_columns)


def _between(keys: Select[Any]) -> Select[Any]:
    position = tuple_(*keys.selected_columns)
    return keys.where(
        position >= tuple_(_number("start_at"), bindparam("start_id", type_=Text())),
        position < tuple_(_number("end_at"), bindparam("end_id", type_=Text())),
    )


def _bounds(start: Position, end: Position) -> dict[str, Any]:
    return {"start_at": start.created_at, "start_id": start.id, "end_at": end.created_at, "end_id": end.id}


def _number(name: str) -> BindParameter[int]:
    return bindparam(name, type_=BigInteger())


def _ranges_of_list(query: QueryBuilder) -> Select[Any]:
    return query.rows(list_range, "list_name", "created_at", "id", "length").where(
        list_range.c.list_name == query.each_value("list_name", Text())
    )


_RANGES = Statement(_ranges_of_list)
_NEWEST_RANGE = Statement(
    lambda query: (
        _ranges_of_list(query)
        .order_by(list_range.c.created_at.desc(), list_range.c.id.desc())
        .limit(literal_column("1"))
    )
)
_TOTAL = Statement(
    lambda query: _ranges_of_list(query).with_only_columns(func.coalesce(func.sum(list_range.c.length), 0))
)
