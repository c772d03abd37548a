"""Keeps the blocks of feedback values that filters read (`store/feedback_blocks`), without making an upload slower.

A background job makes a block of each next thousand pieces of feedback. Whoever adds, changes or deletes feedback must
call `note_changes` in the same transaction; for new feedback, which follows all blocks, that stores nothing. When there
are many changes, the job makes the blocks that have them again.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.services.filters import Path
from log10_server.store.feedback_blocks import (
    FIRST,
    LAST,
    FeedbackBlockColumnRow,
    FeedbackBlockRow,
    Position,
    ValuesSize,
)
from log10_server.strict_json import value, written, written_texts

_MAX_VALUES_BYTES = 1 << 16  # values of more bytes are in no column
_MAX_BLOCK_BYTES = 1 << 20  # so that a block is made in a short transaction
_VALUES_AT_ONCE = 100
_MAX_PATHS_OF_FEEDBACK = 64
_MAX_PATHS_OF_BLOCK = 128
_MAX_PATH_CHARACTERS = 500
_MAX_CELL_CHARACTERS = 200
_MAX_CELL_NUMBER = 10**200
TOO_LARGE: list[Any] = []  # the cell of a value that is too large for one


def note_changes(tx: Tx, positions: Iterable[Position]) -> None:
    """Note that feedback at these positions was added, changed or deleted, if a block may cover it."""
    newest = store.feedback_blocks.find_newest(tx)
    if covered := [position for position in positions if position <= newest]:
        store.feedback_blocks.add_changes(tx, covered)


def is_behind(tx: Tx) -> bool:
    """Return whether a block is to be made, for the first time or again."""
    sizes = tx.thresholds.feedback_blocks
    return (
        store.feedback_blocks.has_as_many_after(tx, store.feedback_blocks.find_newest(tx), sizes.rows)
        or store.feedback_blocks.find_gap(tx) is not None
        or len(store.feedback_blocks.list_changes(tx, sizes.max_changes)) >= sizes.max_changes
    )


def advance(tx: Tx) -> bool:
    """Make the next block. Returns whether there was one to make."""
    if (gap := store.feedback_blocks.find_gap(tx)) is not None:
        _make_block(tx, *gap)
        return True
    sizes = tx.thresholds.feedback_blocks
    if len(changes := store.feedback_blocks.list_changes(tx, sizes.max_changes)) >= sizes.max_changes:
        block = store.feedback_blocks.find_block_at(tx, changes[0])
        if block is None:
            store.feedback_blocks.remove_changes(tx, FIRST, changes[0])
        else:
            store.feedback_blocks.remove(tx, block)
            _make_block(tx, block.after, block.until)
        return True
    newest = store.feedback_blocks.find_newest(tx)
    if store.feedback_blocks.has_as_many_after(tx, newest, sizes.rows):
        _make_block(tx, newest, LAST)
        return True
    return False


def stored_path(path: Path) -> str | None:
    """Return a path as it is stored; None if it has no column of its own.

    `list.00` names the same value as `list.0` if `list` is a list, and another one if it is an object.
    """
    if any(len(name) > 1 and name[0] == "0" and name.isascii() and name.isdigit() for name in path):
        return None
    return written_texts(path)


def _make_block(tx: Tx, after: Position, until: Position) -> None:
    """Make a block of the oldest feedback in this range. If all of it fits in, the block covers the whole range."""
    max_rows = tx.thresholds.feedback_blocks.rows
    rows, has_more = store.feedback_blocks.list_sizes(tx, after, until, max_rows, _MAX_BLOCK_BYTES)
    if has_more or until == LAST:
        until = Position(rows[-1].created_at, rows[-1].id)
    rows.sort(key=lambda row: (row.task_id, row.created_at, row.id))
    scalars = _scalars_of_all(tx, rows)
    uses = Counter(path for cells in scalars.values() for path in cells)
    kept = {path for path, _ in uses.most_common(_MAX_PATHS_OF_BLOCK) if len(path) <= _MAX_PATH_CHARACTERS}
    block_id = tx.new_key()
    columns = [
        _column(tx, block_id, path, [scalars.get(row.id, {}).get(path) for row in rows]) for path in sorted(kept)
    ]
    complete = {row_id for row_id, cells in scalars.items() if cells.keys() <= kept}
    states = "".join(row.state[0] if row.id in complete else row.state[0].upper() for row in rows)
    tasks = Counter(row.task_id for row in rows)
    store.feedback_blocks.remove_changes(tx, after, until)
    store.feedback_blocks.add(
        tx,
        FeedbackBlockRow(
            organization_id=tx.organization_id,
            id=block_id,
            created_at=until.created_at,
            feedback_id=until.id,
            after_created_at=after.created_at,
            after_feedback_id=after.id,
            states=states,
            tasks=written([[task_id, tasks[task_id]] for task_id in sorted(tasks)]),
            positions="\n".join(
                store.feedback_blocks.written_position(Position(row.created_at, row.id)) for row in rows
            ),
        ),
        columns,
    )


def _scalars_of_all(tx: Tx, rows: list[ValuesSize]) -> dict[str, dict[str, Any]]:
    """Return the cells of each piece of feedback, by path. Feedback with too many or too large values is left out."""
    scalars: dict[str, dict[str, Any]] = {}
    ids = [row.id for row in rows if row.size <= _MAX_VALUES_BYTES]
    for start in range(0, len(ids), _VALUES_AT_ONCE):
        for row_id, json_values in store.feedback_blocks.find_values(tx, ids[start : start + _VALUES_AT_ONCE]).items():
            cells: dict[str, Any] = {}
            if _collect_scalars(value(json_values), (), cells):
                scalars[row_id] = cells
    return scalars


def _collect_scalars(values: Any, path: Path, cells: dict[str, Any]) -> bool:
    """Add what filters can compare to `cells`, by the path as it is stored. Returns False if there is too much."""
    if isinstance(values, dict):
        members: Iterable[tuple[str, Any]] = values.items()
    elif isinstance(values, list):
        members = ((str(index), member) for index, member in enumerate(values))
    else:
        if values is not None:
            cells[written_texts(path)] = values if _fits_in_cell(values) else TOO_LARGE
        return len(cells) <= _MAX_PATHS_OF_FEEDBACK
    return all(_collect_scalars(member, (*path, name), cells) for name, member in members)


def _fits_in_cell(scalar: Any) -> bool:
    if isinstance(scalar, str):
        return len(scalar) <= _MAX_CELL_CHARACTERS
    return bool(-_MAX_CELL_NUMBER < scalar < _MAX_CELL_NUMBER)


def _column(tx: Tx, block_id: int, path: str, cells: list[Any]) -> FeedbackBlockColumnRow:
    """Return the row of a column, without the empty cells at its beginning and its end."""
    first_row = next(row for row, cell in enumerate(cells) if cell is not None)
    end = next(row for row in range(len(cells), 0, -1) if cells[row - 1] is not None)
    return FeedbackBlockColumnRow(tx.organization_id, block_id, path, first_row, written(cells[first_row:end]))
