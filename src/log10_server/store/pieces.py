"""Reads rows with large payloads in pieces of bounded size, so that a list of large rows never is in memory as a whole.

The ids of a list are read first. They are small. Then the rows are read by their ids, piece by piece.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Table

from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx

R = TypeVar("R")

# One statement looks up at most this number of rows. They are rarely more than fit into a piece.
_MAX_ROWS = 1000


class Unread(NamedTuple):
    """Ids of rows that are still to be read, in their order.

    `next_size` is the size of the first of these rows, in bytes, if it was too large for the last piece; otherwise 0.
    """

    ids: Sequence[str]
    next_size: int = 0


class Piece(NamedTuple, Generic[R]):
    """Some rows in the order of their ids, and the ids of the rows after them."""

    rows: list[R]
    unread: Unread


class PieceReader(Generic[R]):
    """Reads rows of one table. `payloads` are the names of the columns that may be large."""

    def __init__(self, table: Table, make_row: Callable[[Sequence[Any]], R], payloads: Sequence[str]) -> None:
        self._make_row = make_row
        self._statement = Statement(lambda query: query.rows_in_order(table, payloads, "ids", "max_bytes"))

    def read(self, tx: Tx, unread: Unread, max_bytes: int) -> Piece[R]:
        """Read the next rows, whose payloads have at most `max_bytes` together. Ids of no row are left out.

        If the first row is larger than that, the piece is empty, and its `unread.next_size` is the size of that row.
        """
        rows: list[R] = []
        total = count = 0
        ids = unread.ids[:_MAX_ROWS]
        for *columns, size in tx.iterate(self._statement, ids=ids, max_bytes=max_bytes):
            if size is not None:  # otherwise there is no row with this id
                total += size
                if total > max_bytes:
                    return Piece(rows, Unread(unread.ids[count:], size))
                rows.append(self._make_row(columns))
            count += 1
        return Piece(rows, Unread(unread.ids[count:]))
