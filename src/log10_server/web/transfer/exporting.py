"""The lines of an export, in pieces of bounded size. Each piece is read in a transaction of its own."""

from typing import NamedTuple

from log10_server.db.transaction import Tx
from log10_server.services import training, transfer
from log10_server.services.filters import Predicate
from log10_server.services.training import TrainingSummary
from log10_server.services.transfer import ExportProgress
from log10_server.store.completions import Cursor
from log10_server.web.transfer.lines import header, line_of


class Piece(NamedTuple):
    """Some lines, and how far the export has come; None at the end."""

    lines: bytes
    progress: ExportProgress | None


def first_piece(tx: Tx) -> Piece:
    """The header line."""
    progress = transfer.begin(tx)
    return Piece(header(tx.organization_id, tx.now()).encode(), progress)


def next_piece(tx: Tx, progress: ExportProgress) -> Piece:
    """The lines of the next page."""
    rows, progress_after = transfer.page(tx, progress)
    return Piece("".join(map(line_of, rows)).encode(), progress_after)


class TrainingSelection(NamedTuple):
    """Which completions a training export takes: those with accepted feedback of this task that passes the test."""

    task_id: str
    satisfied: Predicate


class TrainingPiece(NamedTuple):
    """Some lines, what was counted while they were made, and where the next piece begins; None at the end."""

    lines: bytes
    summary: TrainingSummary
    next_cursor: Cursor | None


def training_piece(tx: Tx, selection: TrainingSelection, after: Cursor | None, until: int) -> TrainingPiece:
    """Fine-tuning rows as JSON Lines, of completions that come after the cursor."""
    page = training.page(tx, selection.task_id, selection.satisfied, after, until)
    lines = "".join(row + "\n" for row in page.rows).encode()
    return TrainingPiece(lines, page.summary, page.next_cursor)
