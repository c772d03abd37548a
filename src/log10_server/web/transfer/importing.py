"""Imports files. Lines are collected into batches of rows of one kind, and each batch is stored in one transaction."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import BinaryIO, NamedTuple, cast

from log10_server.db.database import Database
from log10_server.errors import Invalid, Malformed, Refusal, TooLarge
from log10_server.services.completions import Entry, links_of
from log10_server.services.selectors import CompletionList
from log10_server.services.transfer import IMPORTERS, ImportedFeedback, ImportedTask, Outcome, import_feedback
from log10_server.settings import Limits
from log10_server.validation import json_schemas
from log10_server.web.http.json_rows import LineSplitter, Row
from log10_server.web.transfer.reading import ImportedRow, UnsupportedFormat, parse_line

BATCH_ROWS = 500
BATCH_BYTES = 8 << 20
# A transaction stores at most so many tags of completions, or completions of feedback. Feedback on more completions is
# stored in several transactions.
BATCH_LINKS = 2000
# When a task is stored, some hundred completions are checked against it, and no other writer can work meanwhile. So a
# transaction stores only a few tasks.
_BATCH_TASKS = 4
# A line may hold a completion with three payloads, and each of them may be as large as the body of a request, or as
# the largest body of earlier versions.
_PAYLOADS_PER_LINE = 3
_MIN_PAYLOAD_BYTES = 32 << 20
_READ_BYTES = 1 << 18


class RefusedLine(NamedTuple):
    """A line that was not imported: the name of its file, the number of the line (from 1), and the reason."""

    file: str
    number: int
    reason: str


@dataclass
class Tally:
    """The number of lines that were stored, that were stored already, and that were refused.

    Blank lines and headers do not count.
    """

    stored: int = 0
    unchanged: int = 0
    refused: int = 0

    @property
    def read(self) -> int:
        """Return the number of all lines that count."""
        return self.stored + self.unchanged + self.refused


class _BatchItem(NamedTuple):
    row: ImportedRow
    number: int


@dataclass
class Import:
    """Imports files into one organization. Each batch is committed, so an interrupted import can simply be repeated."""

    database: Database
    organization_id: str
    limits: Limits
    on_refused: Callable[[RefusedLine], None]
    tally: Tally = field(default_factory=Tally)

    def import_file(self, file: str, lines: BinaryIO, on_progress: Callable[[], None]) -> None:
        """Import all lines of a file; `on_progress` is called after each batch. Blank lines are skipped.

        Raises Unavailable when the database can't be reached.
        """
        batch: list[_BatchItem] = []
        size = links = 0
        for number, line in self._lines(file, lines):
            try:
                row = parse_line(line, self.limits)
                if isinstance(row, ImportedTask):
                    # Checking a schema may take long, so it is done here, while no transaction is open.
                    json_schemas.check(row.task.json_schema)
            except (Malformed, Invalid) as refusal:
                self._refuse(file, number, refusal)
                if isinstance(refusal, UnsupportedFormat):
                    break
                continue
            if row is None:
                continue
            if batch and (
                type(row) is not type(batch[0].row) or self._is_full(batch, size + len(line), links + _links_of(row))
            ):
                self._store(file, batch)
                on_progress()
                batch, size, links = [], 0, 0
            batch.append(_BatchItem(row, number))
            size += len(line)
            links += _links_of(row)
        self._store(file, batch)
        on_progress()

    def _is_full(self, batch: Sequence[_BatchItem], size: int, links: int) -> bool:
        rows = _BATCH_TASKS if isinstance(batch[0].row, ImportedTask) else BATCH_ROWS
        return len(batch) >= rows or size > BATCH_BYTES or links > BATCH_LINKS

    def _lines(self, file: str, lines: BinaryIO) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that are not blank, with their numbers.

        A line that is too long is refused without being buffered.
        """
        max_bytes = max(self.limits.body_bytes, _MIN_PAYLOAD_BYTES) * _PAYLOADS_PER_LINE
        splitter = LineSplitter(max_bytes)
        for rows in self._rows(file, lines, splitter):
            for row in rows:
                if row.content is None:
                    self._refuse(file, row.line, TooLarge(f"The line is longer than {max_bytes} bytes."))
                else:
                    yield row.line, row.content

    def _rows(self, file: str, lines: BinaryIO, splitter: LineSplitter) -> Iterator[Iterator[Row]]:
        while True:
            try:
                # If a compressed file is damaged, `read` raises without returning the bytes before the damage; `read1`
                # returns them first.
                part = cast(BufferedIOBase, lines).read1(_READ_BYTES)
            except (OSError, EOFError, zlib.error) as error:
                self._refuse(file, splitter.line, Malformed(f"The file can't be read from here on: {error}."))
                return
            if not part:
                break
            yield splitter.split(part)
        yield splitter.finish()

    def _store(self, file: str, batch: Sequence[_BatchItem]) -> None:
        if not batch:
            return
        for item, outcome in zip(batch, self._import([item.row for item in batch]), strict=True):
            if isinstance(outcome, Refusal):
                self._refuse(file, item.number, outcome)
            elif outcome == "stored":
                self.tally.stored += 1
            else:
                self.tally.unchanged += 1

    def _import(self, rows: Sequence[ImportedRow]) -> list[Outcome]:
        """Store rows of one kind in one transaction; the outcomes are in the order of the rows.

        A single piece of feedback may need several transactions. If these are interrupted, a repeated import adds the
        completions that are missing.
        """
        import_rows = IMPORTERS[type(rows[0])]
        if len(rows) > 1 or not isinstance(rows[0], ImportedFeedback):
            return self.database.write(self.organization_id, lambda tx: import_rows(tx, rows))
        outcome: Outcome = "unchanged"
        for part in rows[0].split(BATCH_LINKS):
            part_outcome = self._import_part(part)
            if isinstance(part_outcome, Refusal):
                return [part_outcome]
            outcome = "stored" if "stored" in (outcome, part_outcome) else "unchanged"
        return [outcome]

    def _import_part(self, part: ImportedFeedback) -> Outcome:
        return self.database.write(self.organization_id, lambda tx: import_feedback(tx, [part]))[0]

    def _refuse(self, file: str, number: int, refusal: Refusal) -> None:
        self.tally.refused += 1
        self.on_refused(RefusedLine(file, number, refusal.detail))


def _links_of(row: ImportedRow) -> int:
    """Return about how many links to tags or completions a row needs."""
    if isinstance(row, Entry):
        return links_of(row.fields)
    if isinstance(row, ImportedFeedback) and isinstance(row.new.target, CompletionList):
        return len(row.new.target.completion_ids)
    return 0
