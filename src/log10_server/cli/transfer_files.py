"""Implements `log10-server export` and `log10-server import`.

The functions read and write files, show progress, and print a summary.
"""

import gzip
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import BinaryIO, TypeVar, cast

import click

from log10_server.db.database import Database
from log10_server.db.transaction import Tx
from log10_server.errors import Refusal
from log10_server.services import feedback_tasks, transfer
from log10_server.services.filters import FilterError, parse_filter
from log10_server.services.training import TrainingCursor, TrainingSummary
from log10_server.settings import Limits
from log10_server.web.transfer.exporting import ExportChunk, TrainingSelection, first_chunk, next_chunk, training_chunk
from log10_server.web.transfer.importing import Import, RefusedLine, Tally

T = TypeVar("T")


def export_all(database: Database, organization_id: str, output: str | None) -> None:
    """Write the export of an organization to a file or to standard output."""
    chunk: ExportChunk = _read(database, organization_id, first_chunk)
    with _open_output(output) as file:
        file.write(chunk.lines)
        while (progress := chunk.progress) is not None:
            chunk = _read(database, organization_id, partial(next_chunk, progress=progress))
            file.write(chunk.lines)


def export_training(
    database: Database, organization_id: str, task_id: str, filter_text: str | None, output: str | None
) -> None:
    """Write fine-tuning rows to a file or to standard output, and a summary to standard error.

    The summary has the number of rows, and the number of completions that were left out for each reason. Raises
    NotFound for an unknown task, and ClickException for a filter that can't be parsed.
    """
    try:
        selection = TrainingSelection(
            task_id, (lambda _values: True) if filter_text is None else parse_filter(filter_text)
        )
    except FilterError as error:
        raise click.ClickException(f"{error}.") from None
    _read(database, organization_id, lambda tx: feedback_tasks.get(tx, task_id))
    until = _read(database, organization_id, transfer.begin).until
    summary = TrainingSummary()
    after: TrainingCursor | None = None
    with _open_output(output) as file:
        while True:
            chunk = _read(
                database, organization_id, partial(training_chunk, selection=selection, after=after, until=until)
            )
            file.write(chunk.lines)
            summary.add(chunk.summary)
            if (after := chunk.next_cursor) is None:
                break
    click.echo(summary.to_text(), err=True)


def import_files(database: Database, organization_id: str, limits: Limits, files: Sequence[str]) -> None:
    """Import files one after the other. Every refused line is reported on standard error, followed by a summary.

    Ends the program with exit code 1 when a line was refused.
    """
    on_terminal = sys.stderr.isatty()

    def report_refused(line: RefusedLine) -> None:
        clear_line = "\r\033[K" if on_terminal else ""
        click.echo(f"{clear_line}{line.file}, line {line.number}: {line.reason}", err=True)

    importer = Import(database, organization_id, limits, report_refused)
    try:
        with _progress_bar(sum(map(os.path.getsize, files)) if on_terminal else None) as show_position:
            for name in files:
                _import_file(importer, name, show_position)
    except (KeyboardInterrupt, Refusal):
        click.echo(_summary(importer.tally), err=True)
        click.echo("The import was interrupted. Run the same command again to continue.", err=True)
        raise
    click.echo(_summary(importer.tally), err=True)
    if importer.tally.refused:
        sys.exit(1)


def _import_file(importer: Import, name: str, show_position: Callable[[int | None], None]) -> None:
    """Import one file, which may be compressed with gzip. `show_position` is the function of `_progress_bar`."""
    with open(name, "rb") as raw:
        is_gzip = raw.peek(2)[:2] == b"\x1f\x8b"
        with gzip.open(raw) if is_gzip else nullcontext(raw) as lines:
            importer.import_file(name, cast(BinaryIO, lines), lambda: show_position(raw.tell()))
    show_position(None)


def _read(database: Database, organization_id: str, work: Callable[[Tx], T]) -> T:
    with database.reading() as connection:
        return work(database.tx(connection, organization_id))


@contextmanager
def _open_output(output: str | None) -> Iterator[BinaryIO]:
    """Open the output file, or standard output when there is no name.

    The file is written under another name and renamed once it is complete, so an incomplete export never has its name.
    Raises ClickException when the file can't be written.
    """
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = f"{output}.part"
    try:
        with open(part, "wb") as raw:
            if output.endswith(".gz"):
                with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as compressed:
                    yield cast(BinaryIO, compressed)
            else:
                yield raw
        os.replace(part, output)
    except OSError as error:
        raise click.ClickException(f"Can't write {output}: {error.strerror}.") from None
    finally:
        if os.path.exists(part):
            os.remove(part)


@contextmanager
def _progress_bar(size: int | None) -> Iterator[Callable[[int | None], None]]:
    """Show a progress bar for `size` bytes.

    If `size` is None, nothing is shown, because standard error is not a terminal.

    Yields a function that must be called with the position in the current file, and with None at the end of each file.
    """
    if size is None:
        yield lambda _position: None
        return
    with click.progressbar(length=size, label="Importing", file=sys.stderr) as bar:
        previous = 0

        def show_position(position: int | None) -> None:
            nonlocal previous
            bar.update(0 if position is None else position - previous)
            previous = position or 0

        yield show_position


def _summary(tally: Tally) -> str:
    return f"Read {tally.read} lines: {tally.stored} stored, {tally.unchanged} unchanged, {tally.refused} refused."
