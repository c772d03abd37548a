"""Exports in chunks of bounded size.

Each chunk is read in a separate transaction, so that no transaction stays open for long.
"""

from typing import NamedTuple

from log10_server.db.transaction import Tx
from log10_server.services import training, transfer
from log10_server.services.filters import Predicate
from log10_server.services.training import TrainingCursor, TrainingSummary
from log10_server.services.transfer import ExportProgress
from log10_server.web.transfer.lines import encode_header, encode_line


class ExportChunk(NamedTuple):
    """Some lines, and the progress with which the next chunk is read. The progress is None after the last chunk."""

    lines: bytes
    progress: ExportProgress | None


def first_chunk(tx: Tx) -> ExportChunk:
    """Return the header line, and the progress with which the first rows are read."""
    progress = transfer.begin(tx)
    return ExportChunk(encode_header(tx.organization_id, tx.now()).encode(), progress)


def next_chunk(tx: Tx, progress: ExportProgress) -> ExportChunk:
    """Return the lines of the next page of rows. A chunk may have no lines although the export continues."""
    rows, progress_after = transfer.page(tx, progress)
    return ExportChunk("".join(map(encode_line, rows)).encode(), progress_after)


class TrainingSelection(NamedTuple):
    """Selects the completions that have accepted feedback for a task whose values satisfy a condition."""

    task_id: str
    satisfied: Predicate


class TrainingChunk(NamedTuple):
    """Some lines, the counts of this chunk, and the cursor of the next chunk, which is None after the last one."""

    lines: bytes
    summary: TrainingSummary
    next_cursor: TrainingCursor | None


def training_chunk(tx: Tx, selection: TrainingSelection, after: TrainingCursor | None, until: int) -> TrainingChunk:
    """Return fine-tuning rows as JSON Lines, for the feedback after the cursor that was stored by `until`."""
    page = training.page(tx, selection.task_id, selection.satisfied, after, until)
    lines = "".join(row + "\n" for row in page.rows).encode()
    return TrainingChunk(lines, page.summary, page.next_cursor)
