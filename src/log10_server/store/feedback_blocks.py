"""Blocks of the values of feedback, column by column, which filters over values read, and the statements on them.

A block covers the feedback in one range of positions; a position is a `created_at` and an id. Each path of the values
has one row with the values of all feedback in the block. Ranges don't overlap. The feedback between two blocks, and
above the newest one, is in no block. A block never changes: what has changed since it was made has a row in
`feedback_block_change`, until the block is made again (`services/feedback_blocks`).
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    Select,
    Text,
    bindparam,
    delete,
    literal_column,
    select,
    tuple_,
)

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.schema import Instant, Key, check_columns, ordered_index, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.store.feedback import feedback

feedback_block = owned_table(
    "feedback_block",
    ("id",),
    Column("id", BigInteger, autoincrement=False),
    Column("created_at", Instant, nullable=False),
    Column("feedback_id", Key, nullable=False),
    Column("after_created_at", Instant, nullable=False),
    Column("after_feedback_id", Key, nullable=False),
    Column("states", Text, nullable=False),
    Column("tasks", Text, nullable=False),
    Column("positions", Text, nullable=False),
)
ordered_index(feedback_block, "created_at", "feedback_id", unique=True)

feedback_block_column = owned_table(
    "feedback_block_column",
    ("block_id", "path"),
    Column("block_id", BigInteger, autoincrement=False),
    Column("path", Key),
    Column("first_row", Integer, nullable=False),
    Column("cells", Text, nullable=False),
)
feedback_block_change = owned_table(
    "feedback_block_change",
    ("created_at", "feedback_id"),
    Column("created_at", Instant, autoincrement=False),
    Column("feedback_id", Key),
)


class Position(NamedTuple):
    """A position in the order of feedback."""

    created_at: int
    id: str


_NO_LIMIT = 2**31
FIRST: Final = Position(-(2**63), "")  # before all feedback
LAST: Final = Position(2**63 - 1, "")  # after all feedback


class FeedbackBlockRow(NamedTuple):
    """A block. It covers the positions after (`after_created_at`, `after_feedback_id`) up to and with its own.

    Its feedback is sorted by task. `tasks` is a JSON list of the tasks and of how much feedback each has. `positions`
    has a line for each position: the `created_at` and, after a space, the id. `states` has one letter for each: the first one of its state, as a capital if some
    of its values are in no column.
    """

    organization_id: str
    id: int
    created_at: int
    feedback_id: str
    after_created_at: int
    after_feedback_id: str
    states: str
    tasks: str
    positions: str


class FeedbackBlockColumnRow(NamedTuple):
    """The values at one path. `cells` is a JSON list for the feedback from `first_row` on, counted from 0.

    A cell is null if there is no value that a filter compares, and an empty list if the value is too large for a cell.
    """

    organization_id: str
    block_id: int
    path: str
    first_row: int
    cells: str


check_columns(FeedbackBlockRow, feedback_block)
check_columns(FeedbackBlockColumnRow, feedback_block_column)


class Block(NamedTuple):
    """A block as a filter reads it.

    `columns` has the first row and the cells of those paths that have any, by the path as it is stored.
    """

    id: int
    until: Position
    after: Position
    states: str
    tasks: str
    columns: dict[str, tuple[int, list[Any]]]

    def rows_of_task(self, task_id: str) -> tuple[int, int]:
        """The first row of a task, counted from 0, and the number of its rows."""
        first = 0
        for each_id, rows in json.loads(self.tasks):
            if each_id == task_id:
                return first, rows
            first += rows
        return first, 0


class ValuesSize(NamedTuple):
    """Feedback, and about how many bytes its values have."""

    created_at: int
    id: str
    task_id: str
    state: str
    size: int


def add(tx: Tx, block: FeedbackBlockRow, columns: Sequence[FeedbackBlockColumnRow]) -> None:
    """Insert a block."""
    tx.insert_many(feedback_block, [block])
    tx.insert_many(feedback_block_column, columns)


def remove(tx: Tx, block: Block) -> None:
    """Delete a block, and the changes in its range."""
    tx.run(_REMOVE_COLUMNS, block_id=block.id)
    tx.run(_REMOVE_BLOCK, block_id=block.id)
    remove_changes(tx, block.after, block.until)


def remove_changes(tx: Tx, after: Position, until: Position) -> None:
    """Forget the changes in this range of positions."""
    tx.run(_REMOVE_CHANGES, **_range(after, until))


def add_changes(tx: Tx, positions: Iterable[Position]) -> None:
    """Note that feedback at these positions was changed, added or deleted after its block was made."""
    tx.insert_missing(feedback_block_change, [(tx.organization_id, *position) for position in sorted(positions)])


def list_changes(tx: Tx, limit: int | None = None) -> list[Position]:
    """The changes since the blocks were made, oldest feedback first."""
    return [Position(*row) for row in tx.fetch(_CHANGES, limit=_NO_LIMIT if limit is None else limit)]


def find_newest(tx: Tx) -> Position:
    """The greatest position that a block covers; FIRST if there is no block."""
    return next((Position(*row) for row in tx.fetch(_NEWEST)), FIRST)


def find_block_at(tx: Tx, position: Position) -> Block | None:
    """The block that covers this position, or None. Its columns are not read."""
    for row in tx.fetch(_NEXT_BLOCK, at=position.created_at, at_id=position.id):
        block = _block(row)
        return block if block.after < position else None
    return None


def find_gap(tx: Tx) -> tuple[Position, Position] | None:
    """A range of positions below the newest block that no block covers, or None."""
    for after_at, after_id in tx.fetch(_GAPS):
        until = Position(after_at, after_id)
        below = tx.fetch(_BLOCKS_BELOW, at=after_at, at_id=after_id, limit=1, paths=[])
        return (_block(below[0]).until if below else FIRST), until
    return None


def list_blocks(tx: Tx, until: Position, paths: Sequence[str], limit: int) -> list[Block]:
    """The newest blocks that cover nothing after `until`, newest first, with the columns of these paths."""
    blocks: dict[int, Block] = {}
    for row in tx.fetch(_BLOCKS_BELOW, at=until.created_at, at_id=until.id, limit=limit, paths=list(paths)):
        block = blocks.setdefault(row[0], _block(row)) if row[0] not in blocks else blocks[row[0]]
        path, first_row, cells = row[-3:]
        if path is not None:
            block.columns[path] = first_row, json.loads(cells)
    return list(blocks.values())


def list_positions(tx: Tx, block_id: int) -> list[str] | None:
    """The positions of all feedback in a block, in its order, as lines; None if the block has been deleted."""
    return next((positions.split("\n") for (positions,) in tx.fetch(_POSITIONS, block_id=block_id)), None)


def written_position(position: Position) -> str:
    """A position as a line. An id contains no line break."""
    return f"{position.created_at} {position.id}"


def read_position(line: str) -> Position:
    """The position that a line contains."""
    created_at, _, feedback_id = line.partition(" ")
    return Position(int(created_at), feedback_id)


def list_sizes(
    tx: Tx, after: Position, until: Position, max_rows: int, max_bytes: int
) -> tuple[list[ValuesSize], bool]:
    """The oldest feedback in this range of positions, how large its values are, and whether there is more in the range.

    The list ends at `max_rows`, or when the sum of the sizes reaches `max_bytes`. SQLite reads a whole text to tell its
    length, so no row is taken but those of the list and the one that follows it.
    """
    rows: list[ValuesSize] = []
    size = 0
    for row in map(ValuesSize._make, tx.iterate(_SIZES, **_range(after, until), limit=max_rows + 1)):
        if len(rows) == max_rows or size >= max_bytes:
            return rows, True
        rows.append(row)
        size += row.size
    return rows, False


def find_values(tx: Tx, ids: Sequence[str]) -> dict[str, str]:
    """The values of these pieces of feedback, by id."""
    return dict(tx.fetch(_VALUES, ids=list(ids))) if ids else {}


def has_as_many_after(tx: Tx, position: Position, count: int) -> bool:
    """Whether there are at least `count` pieces of feedback after this position."""
    return bool(tx.fetch(_AFTER, after_at=position.created_at, after_id=position.id, skipped=count - 1))


def _range(after: Position, until: Position) -> dict[str, Any]:
    return {
        "after_at": after.created_at,
        "after_id": after.id,
        "until_at": until.created_at,
        "until_id": until.id,
    }


def _block(row: Sequence[Any]) -> Block:
    block_id, created_at, feedback_id, after_created_at, after_feedback_id, states, tasks = row[:7]
    return Block(
        block_id,
        Position(created_at, feedback_id),
        Position(after_created_at, after_feedback_id),
        states,
        tasks,
        {},
    )


_BLOCK_COLUMNS = ("id", "created_at", "feedback_id", "after_created_at", "after_feedback_id", "states", "tasks")
_block_position = tuple_(feedback_block.c.created_at, feedback_block.c.feedback_id)
_feedback_position = tuple_(feedback.c.created_at, feedback.c.id)
_change_position = tuple_(feedback_block_change.c.created_at, feedback_block_change.c.feedback_id)


def _bound(name: str) -> Any:
    return tuple_(bindparam(f"{name}_at", type_=BigInteger()), bindparam(f"{name}_id", type_=Text()))


def _at() -> Any:
    return tuple_(bindparam("at", type_=BigInteger()), bindparam("at_id", type_=Text()))


def _limit(name: str = "limit") -> Any:
    return bindparam(name, type_=BigInteger())


def _blocks_below(query: QueryBuilder) -> Select[Any]:
    """A query for the blocks that end at a position or before it, each once for each of its columns with a path.

    One statement reads both, so that it never sees a block without its columns.
    """
    blocks = (
        query.rows(feedback_block, *_BLOCK_COLUMNS)
        .where(_block_position <= _at())
        .order_by(feedback_block.c.created_at.desc(), feedback_block.c.feedback_id.desc())
        .limit(_limit())
        .subquery("blocks")
    )
    column = feedback_block_column
    is_wanted = query.is_owned(column) & (column.c.block_id == blocks.c.id) & query.in_list(column.c.path, "paths")
    return (
        select(*blocks.c, column.c.path, column.c.first_row, column.c.cells)
        .select_from(blocks.outerjoin(column, is_wanted))
        .order_by(blocks.c.created_at.desc(), blocks.c.feedback_id.desc())
    )


def _gaps(query: QueryBuilder) -> Select[Any]:
    """A query for where the newest gap ends: a block covers what follows a position that no block ends at."""
    other = feedback_block.alias("other")
    ends_there = (
        select(literal_column("1"))
        .where(
            query.is_owned(other),
            other.c.created_at == feedback_block.c.after_created_at,
            other.c.feedback_id == feedback_block.c.after_feedback_id,
        )
        .correlate(feedback_block)
        .exists()
    )
    return (
        query.rows(feedback_block, "after_created_at", "after_feedback_id")
        .where(~ends_there, feedback_block.c.after_created_at > literal_column(f"({FIRST.created_at + 1})"))
        .order_by(feedback_block.c.created_at.desc(), feedback_block.c.feedback_id.desc())
        .limit(literal_column("1"))
    )


_BLOCKS_BELOW = Statement(_blocks_below)
_GAPS = Statement(_gaps)
_NEXT_BLOCK = Statement(
    lambda query: (
        query.rows(feedback_block, *_BLOCK_COLUMNS)
        .where(_block_position >= _at())
        .order_by(feedback_block.c.created_at, feedback_block.c.feedback_id)
        .limit(literal_column("1"))
    )
)
_NEWEST = Statement(
    lambda query: (
        query.rows(feedback_block, "created_at", "feedback_id")
        .order_by(feedback_block.c.created_at.desc(), feedback_block.c.feedback_id.desc())
        .limit(literal_column("1"))
    )
)
_POSITIONS = Statement(
    lambda query: query.rows(feedback_block, "positions").where(
        feedback_block.c.id == bindparam("block_id", type_=BigInteger())
    )
)
_CHANGES = Statement(
    lambda query: (
        query.rows(feedback_block_change, "created_at", "feedback_id")
        .order_by(feedback_block_change.c.created_at, feedback_block_change.c.feedback_id)
        .limit(_limit())
    )
)
_SIZES = Statement(
    lambda query: (
        query.rows(feedback, "created_at", "id", "task_id", "state")
        .add_columns(query.size(feedback.c.json_values))
        .where(_feedback_position > _bound("after"), _feedback_position <= _bound("until"))
        .order_by(feedback.c.created_at, feedback.c.id)
        .limit(_limit())
    )
)
_VALUES = Statement(lambda query: query.rows_by_key(query.rows(feedback, "id", "json_values"), feedback.c.id, "ids"))
_AFTER = Statement(
    lambda query: (
        query.rows(feedback, "id")
        .where(_feedback_position > _bound("after"))
        .order_by(feedback.c.created_at, feedback.c.id)
        .limit(literal_column("1"))
        .offset(_limit("skipped"))
    )
)


def _is_block(query: QueryBuilder, table: Any, column: Column[Any]) -> Any:
    return query.is_owned(table) & (column == bindparam("block_id", type_=BigInteger()))


_REMOVE_BLOCK = Statement(
    lambda query: delete(feedback_block).where(_is_block(query, feedback_block, feedback_block.c.id))
)
_REMOVE_COLUMNS = Statement(
    lambda query: delete(feedback_block_column).where(
        _is_block(query, feedback_block_column, feedback_block_column.c.block_id)
    )
)
_REMOVE_CHANGES = Statement(
    lambda query: delete(feedback_block_change).where(
        query.is_owned(feedback_block_change),
        _change_position > _bound("after"),
        _change_position <= _bound("until"),
    )
)
