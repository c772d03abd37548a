"""The work of `log10-server export` and `import`: reading and writing files, progress, and the summary at the end."""

import gzip
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, TypeVar, cast

import click

from log10_server.db.database import Database
from log10_server.db.transaction import Tx
from log10_server.errors import Refusal
from log10_server.services import feedback_tasks, transfer
from log10_server.services.filters import FilterError, parse_filter
from log10_server.services.training import TrainingSummary
from log10_server.settings import Limits
from log10_server.store.completions import Cursor
from log10_server.web.transfer.exporting import Piece, TrainingSelection, first_piece, next_piece, training_piece
from log10_server.web.transfer.importing import Import, Refused, Tally

T = TypeVar("T")


def export_all(database: Database, organization_id: str, output: str | None) -> None:
    """Write the export of an organization to a file or to standard output."""
    piece: Piece = _read(database, organization_id, first_piece)
    with _written_to(output) as file:
        file.write(piece.lines)
        while (progress := piece.progress) is not None:
            piece = _read(database, organization_id, lambda tx, at=progress: next_piece(tx, at))  # type: ignore[misc]
            file.write(piece.lines)


def export_training(
    database: Database, organization_id: str, task_id: str, filter: str | None, output: str | None
) -> None:
    """Write fine-tuning rows. Standard error tells how many there are, and how many were left out for which reason.

    Raises NotFound for an unknown task.
    """
    try:
        selection = TrainingSelection(task_id, (lambda _values: True) if filter is None else parse_filter(filter))
    except FilterError as error:
        raise click.ClickException(f"{error}.") from None
    _read(database, organization_id, lambda tx: feedback_tasks.get(tx, task_id))
    until = _read(database, organization_id, transfer.begin).until
    summary = TrainingSummary()
    after: Cursor | None = None
    with _written_to(output) as file:
        while True:
            piece = _read(
                database,
                organization_id,
                lambda tx, after=after: training_piece(tx, selection, after, until),  # type: ignore[misc]
            )
            file.write(piece.lines)
            summary.add(piece.summary)
            if (after := piece.next_cursor) is None:
                break
    click.echo(summary.to_text(), err=True)


def import_files(database: Database, organization_id: str, limits: Limits, files: Sequence[str]) -> None:
    """Import files one after the other. Standard error names every refused line, and ends with a summary.

    Exits with 1 when a line was refused.
    """
    on_terminal = sys.stderr.isatty()

    def refused(line: Refused) -> None:
        clear = "\r\033[K" if on_terminal else ""
        click.echo(f"{clear}{line.file}, line {line.number}: {line.reason}", err=True)

    taking = Import(database, organization_id, limits, refused)
    try:
        with _bar(sum(map(os.path.getsize, files)) if on_terminal else None) as moved:
            for name in files:
                with ExitStack() as close:
                    raw = close.enter_context(open(name, "rb"))
                    packed = raw.peek(2)[:2] == b"\x1f\x8b"
                    lines = close.enter_context(gzip.open(raw)) if packed else raw
                    taking.take(name, cast(BinaryIO, lines), lambda raw=raw: moved(raw.tell()))  # type: ignore[misc]
                moved(None)
    except (KeyboardInterrupt, Refusal):
        click.echo(f"{_summary(taking.tally)} It was stopped; the same command goes on.", err=True)
        raise
    click.echo(_summary(taking.tally), err=True)
    if taking.tally.refused:
        sys.exit(1)


def _read(database: Database, organization_id: str, work: Callable[[Tx], T]) -> T:
    with database.reading() as connection:
        return work(database.tx(connection, organization_id))


@contextmanager
def _written_to(output: str | None) -> Iterator[BinaryIO]:
    """Open a file that gets its name once it is complete, so that no reader finds a part; or standard output."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = f"{output}.part"
    try:
        with open(part, "wb") as raw:
            if output.endswith(".gz"):
                with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
                    yield cast(BinaryIO, packed)
            else:
                yield raw
        os.replace(part, output)
    except OSError as error:
        raise click.ClickException(f"{output} can't be written: {error.strerror}.") from None
    finally:
        if os.path.exists(part):
            os.remove(part)


@contextmanager
def _bar(size: int | None) -> Iterator[Callable[[int | None], None]]:
    """Show a progress bar over bytes. Call what it yields with the position in a file, and with None at a file's end.

    Without a size nothing is shown, because standard error is not a terminal.
    """
    if size is None:
        yield lambda _place: None
        return
    with click.progressbar(length=size, label="Importing", file=sys.stderr) as bar:
        before = 0

        def moved(place: int | None) -> None:
            nonlocal before
            bar.update(0 if place is None else place - before)
            before = place or 0

        yield moved


def _summary(tally: Tally) -> str:
    return f"Read {tally.read} lines: {tally.stored} stored, {tally.unchanged} unchanged, {tally.refused} refused."
