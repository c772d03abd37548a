"""An import: lines become batches of one kind, and each batch is one transaction."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import BinaryIO, NamedTuple, cast

from log10_server.db.database import Database
from log10_server.errors import Invalid, Malformed, Refusal, TooLarge
from log10_server.services.transfer import IMPORTERS, ImportedTask, Outcome
from log10_server.settings import Limits
from log10_server.validation import json_schemas
from log10_server.web.http.json_rows import Lines, Row
from log10_server.web.transfer.reading import Kept, NotThisFormat, read

BATCH_ROWS = 500
BATCH_BYTES = 8 << 20
# A task is held against a thousand completions, and meanwhile nobody else writes: few in one transaction.
_BATCH_TASKS = 20
# The three payloads of a completion may each be as large as a body.
_BODIES_IN_A_LINE = 3
_READ_AT_ONCE = 1 << 18


class Refused(NamedTuple):
    """A line that was not taken: the name of its file, its number from 1, and why."""

    file: str
    number: int
    reason: str


@dataclass
class Tally:
    """What became of the lines that say something."""

    stored: int = 0
    unchanged: int = 0
    refused: int = 0

    @property
    def read(self) -> int:
        return self.stored + self.unchanged + self.refused


class _Waiting(NamedTuple):
    kept: Kept
    number: int


@dataclass
class Import:
    """Takes lines of files into one organization, and commits as it goes; whoever runs it again goes on."""

    database: Database
    organization_id: str
    limits: Limits
    refused: Callable[[Refused], None]
    tally: Tally = field(default_factory=Tally)

    def take(self, file: str, lines: BinaryIO, progressed: Callable[[], None]) -> None:
        """Take all lines of a file; `progressed` is called now and then. Blank lines are skipped.

        Raises Unavailable when the database can't be reached.
        """
        batch: list[_Waiting] = []
        size = 0
        for number, line in self._lines(file, lines):
            try:
                kept = read(line, self.limits)
                if isinstance(kept, ImportedTask):  # now, while no transaction is open: it may take long
                    json_schemas.check(kept.task.json_schema)
            except (Malformed, Invalid) as refusal:
                self._refuse(file, number, refusal)
                if isinstance(refusal, NotThisFormat):
                    break
                continue
            if kept is None:
                continue
            if batch and (type(kept) is not type(batch[0].kept) or self._is_full(batch, size + len(line))):
                self._store(file, batch)
                progressed()
                batch, size = [], 0
            batch.append(_Waiting(kept, number))
            size += len(line)
        self._store(file, batch)
        progressed()

    def _is_full(self, batch: Sequence[_Waiting], size: int) -> bool:
        rows = _BATCH_TASKS if isinstance(batch[0].kept, ImportedTask) else BATCH_ROWS
        return len(batch) >= rows or size > BATCH_BYTES

    def _lines(self, file: str, lines: BinaryIO) -> Iterator[tuple[int, bytes]]:
        """The lines that are not blank, with their numbers. One that is too long is refused, and never held whole."""
        most = self.limits.body_bytes * _BODIES_IN_A_LINE
        splitter = Lines(most)
        for rows in self._rows(file, lines, splitter):
            for row in rows:
                if row.content is None:
                    self._refuse(file, row.line, TooLarge(f"The line is longer than {most} bytes."))
                else:
                    yield row.line, row.content

    def _rows(self, file: str, lines: BinaryIO, splitter: Lines) -> Iterator[Iterator[Row]]:
        while True:
            try:
                part = cast(BufferedIOBase, lines).read1(_READ_AT_ONCE)  # what stands before a fault is taken
            except (OSError, EOFError, zlib.error) as error:
                self._refuse(file, splitter.line, Malformed(f"The file can't be read from here on: {error}."))
                return
            if not part:
                break
            yield splitter.feed(part)
        yield splitter.close()

    def _store(self, file: str, batch: Sequence[_Waiting]) -> None:
        if not batch:
            return
        for waiting, outcome in zip(batch, self._outcomes([waiting.kept for waiting in batch]), strict=True):
            if isinstance(outcome, Refusal):
                self._refuse(file, waiting.number, outcome)
            elif outcome == "stored":
                self.tally.stored += 1
            else:
                self.tally.unchanged += 1

    def _outcomes(self, kept: Sequence[Kept]) -> list[Outcome]:
        """Store rows of one kind; what became of each."""
        restore = IMPORTERS[type(kept[0])]
        return self.database.write(self.organization_id, lambda tx: restore(tx, kept))

    def _refuse(self, file: str, number: int, refusal: Refusal) -> None:
        self.tally.refused += 1
        self.refused(Refused(file, number, refusal.detail))
