"""An export: its lines in pieces of bounded size, each read in a transaction of its own."""

from collections import Counter
from typing import NamedTuple

from log10_server.db.transaction import Tx
from log10_server.services import training, transfer
from log10_server.services.filters import Test
from log10_server.services.transfer import Progress
from log10_server.store.completions import Cursor
from log10_server.web.transfer.lines import header, line_of


class Piece(NamedTuple):
    """Some lines, and how the export goes on; None at the end."""

    lines: bytes
    progress: Progress | None


def first_piece(tx: Tx) -> Piece:
    """The header."""
    progress = transfer.begin(tx)
    return Piece(header(tx.organization_id, tx.now()).encode(), progress)


def next_piece(tx: Tx, progress: Progress) -> Piece:
    rows, progress_after = transfer.page(tx, progress)
    return Piece("".join(map(line_of, rows)).encode(), progress_after)


class Asked(NamedTuple):
    """A training export: accepted feedback of which task, and what its values must satisfy."""

    task_id: str
    satisfied: Test


class TrainingPiece(NamedTuple):
    lines: bytes
    counts: Counter[str]  # `rows` and `left_out`
    after: Cursor | None


def training_piece(tx: Tx, asked: Asked, after: Cursor | None, until: int) -> TrainingPiece:
    """Rows of completions behind `after`, as JSON Lines; at the end there is no place to go on from."""
    rows, left_out, next_cursor = training.page(tx, asked.task_id, asked.satisfied, after, until)
    lines = "".join(row + "\n" for row in rows).encode()
    return TrainingPiece(lines, Counter(rows=len(rows), left_out=left_out), next_cursor)
