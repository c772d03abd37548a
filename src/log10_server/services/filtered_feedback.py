"""Finds the feedback whose values satisfy a filter, newest first (docs/api.md, "Lists").

The blocks of values (`services/feedback_blocks`) tell it for most feedback. Where there is no block, where a block is
out of date, and where a value is too large for a block, the values themselves are read. Both ways use the same filter.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.services.feedback_blocks import TOO_LARGE, stored_path
from log10_server.services.filters import Cells, Filter, Path
from log10_server.store.feedback import FeedbackRow, Filters
from log10_server.store.feedback_blocks import FIRST, LAST, Block, Position
from log10_server.strict_json import value

_MAX_COLUMNS_AT_ONCE = 16  # a column may have 250 KB
_ROWS_AT_ONCE = 200
_FEEDBACK_PER_READ = 50  # whole rows


class Matches(NamedTuple):
    """How many pieces of feedback match, and a function that lists their ids, newest first."""

    number: int
    list_ids: Callable[[], list[str]]


def iterate_matches(tx: Tx, filters: Filters, satisfies: Filter) -> Iterator[Matches]:
    """Iterate over the feedback that passes the filters and satisfies the filter over values, in groups, newest first."""
    paths = {path: stored_path(path) for path in satisfies.paths}
    if filters.completion_id is not None or None in paths.values():
        yield from _iterate_plainly(tx, filters, satisfies, FIRST, LAST)
        return
    # The changes must be read before the blocks: a block that is made again in between contains them.
    search = _Search(
        tx,
        filters,
        satisfies,
        {path: str(stored) for path, stored in paths.items()},
        store.feedback_blocks.list_changes(tx),
    )
    blocks_at_once = max(1, _MAX_COLUMNS_AT_ONCE // max(1, len(paths)))
    until = LAST
    while not _is_before(filters, until):
        blocks = store.feedback_blocks.list_blocks(tx, until, list(search.paths.values()), blocks_at_once)
        tx.check_deadline()
        if not blocks:
            yield from _iterate_plainly(tx, filters, satisfies, FIRST, until)
            return
        for block in blocks:
            if block.until < until:
                yield from _iterate_plainly(tx, filters, satisfies, block.until, until)
            if not _is_before(filters, block.until) and not _is_after(filters, block.after):
                yield search.matches(block)
            until = block.after


def _is_before(filters: Filters, until: Position) -> bool:
    """Return whether all feedback up to this position is older than the filters allow."""
    return filters.created_from is not None and until.created_at < filters.created_from


def _is_after(filters: Filters, after: Position) -> bool:
    """Return whether all feedback after this position is newer than the filters allow."""
    return filters.created_to is not None and after.created_at > filters.created_to


def _iterate_plainly(
    tx: Tx, filters: Filters, satisfies: Filter, after: Position, until: Position
) -> Iterator[Matches]:
    """Read the values of all feedback in a range of positions that passes the filters, some hundred at a time."""
    rows = store.feedback.iterate_values(tx, filters, after, until)
    while piece := list(islice(rows, _ROWS_AT_ONCE)):
        ids = [feedback_id for feedback_id, json_values in piece if satisfies(value(json_values))]
        if ids:
            yield Matches(len(ids), lambda ids=ids: ids)  # type: ignore[misc]


class _Search:
    """A search in blocks. `paths` has the stored path of each path of the filter."""

    def __init__(
        self, tx: Tx, filters: Filters, satisfies: Filter, paths: dict[Path, str], changes: Sequence[Position]
    ) -> None:
        self._tx = tx
        self._filters = filters
        self._satisfies = satisfies
        self.paths = paths
        self._changes = changes

    def matches(self, block: Block) -> Matches:
        """Return the matches in a block."""
        task_id = self._filters.task_id
        first, rows = (0, len(block.states)) if task_id is None else block.rows_of_task(task_id)
        columns = {
            path: _cells(block.columns[name], first, rows) for path, name in self.paths.items() if name in block.columns
        }
        selected = self._satisfies.select(columns, rows)
        states = block.states[first : first + rows]
        if self._filters.state is not None:
            selected &= _in_state(states, self._filters.state)
        changed = self._changes[bisect_right(self._changes, block.after) : bisect_right(self._changes, block.until)]
        uncertain = self._uncertain_rows(states, columns)
        to_check = set(changed)
        if changed or uncertain or self._filters.created_from is not None or self._filters.created_to is not None:
            positions = self._positions(block, range(first, first + rows))
            if positions is None:
                return self._plain_matches(block)
            to_check.update(positions[row] for row in uncertain)
            for row, position in enumerate(positions):
                if position in to_check or not self._is_in_range(position):
                    selected &= ~(1 << 8 * row)
        also = self._check(to_check)

        def list_ids() -> list[str]:
            positions = self._positions(block, [first + row for row in _selected_rows(selected, rows)])
            if positions is None:
                return self._plain_matches(block).list_ids()
            return [position.id for position in sorted([*positions, *also], reverse=True)]

        return Matches(selected.bit_count() + len(also), list_ids)

    def _uncertain_rows(self, states: str, columns: dict[Path, Cells]) -> list[int]:
        """Return the rows for which the columns don't tell whether they satisfy the filter."""
        uncertain: set[int] = set()
        for cells in columns.values():
            if list in cells.kinds:
                uncertain.update(row for row, cell in enumerate(cells.values) if cell == TOO_LARGE)
        if states and not states.islower():
            lists = [columns[path].values if path in columns else None for path in self.paths]
            incomplete = (row for row, state in enumerate(states) if state.isupper())
            uncertain.update(row for row in incomplete if any(cells is None or cells[row] is None for cells in lists))
        return sorted(uncertain)

    def _positions(self, block: Block, rows: Iterable[int]) -> list[Position] | None:
        """Return the positions of these rows of a block; None if the block has just been made again."""
        lines = store.feedback_blocks.list_positions(self._tx, block.id)
        return None if lines is None else [store.feedback_blocks.read_position(lines[row]) for row in rows]

    def _plain_matches(self, block: Block) -> Matches:
        groups = list(_iterate_plainly(self._tx, self._filters, self._satisfies, block.after, block.until))
        ids = [feedback_id for group in groups for feedback_id in group.list_ids()]
        return Matches(len(ids), lambda: ids)

    def _check(self, positions: Iterable[Position]) -> list[Position]:
        """Return those of these positions at which there is feedback that matches.

        Feedback that was deleted and uploaded again with the same id has another position, and is not in this block.
        """
        wanted = set(positions)
        ids = sorted(position.id for position in wanted)
        matching: list[Position] = []
        for start in range(0, len(ids), _FEEDBACK_PER_READ):
            self._tx.check_deadline()
            rows = store.feedback.find_many(self._tx, ids[start : start + _FEEDBACK_PER_READ])
            stored = ((Position(row.created_at, row.id), row) for row in rows.values())
            matching += [position for position, row in stored if position in wanted and self._is_match(row)]
        return matching

    def _is_match(self, row: FeedbackRow) -> bool:
        filters = self._filters
        return (
            filters.task_id in (None, row.task_id)
            and filters.state in (None, row.state)
            and self._is_in_range(Position(row.created_at, row.id))
            and self._satisfies(value(row.json_values))
        )

    def _is_in_range(self, position: Position) -> bool:
        return not _is_before(self._filters, position) and not _is_after(self._filters, position)


def _cells(column: tuple[int, list[Any]], first: int, rows: int) -> Cells:
    """Return the cells of some rows. The cells before and after those that are stored are empty."""
    first_row, values = column
    if (first_row, len(values)) == (first, rows):
        return Cells.of(values)
    start, end = max(first, first_row), min(first + rows, first_row + len(values))
    if start >= end:
        return Cells.of([None] * rows)
    stored = values[start - first_row : end - first_row]
    return Cells.of([None] * (start - first) + stored + [None] * (first + rows - end))


def _in_state(states: str, state: str) -> int:
    """Return a number with a 1 in the byte of each row that has the state, as `Filter.select` does."""
    letter = state[0]
    has_state = states.lower().translate({ord(each): int(each == letter) for each in "apr"})
    return int.from_bytes(has_state.encode(), "little")


def _selected_rows(selected: int, rows: int) -> list[int]:
    return [row for row, is_selected in enumerate(selected.to_bytes(rows, "little")) if is_selected]
