"""What everything costs as history grows: one organization of 10 000, 100 000, 1 000 000 completions, for each database."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import bodies, figures, history, machine, results, wrk
from benchmarks.databases import Holder, opened
from benchmarks.figures import Figures
from benchmarks.options import CantMeasure, Options
from benchmarks.parts import creates, exports, fairness, meanwhile, processes, requests, starvation
from benchmarks.servers import ours
from benchmarks.stage import Stage

NAME = "scale"
_IDLE_WITHIN = 900.0

Part = Callable[[Stage], None]
# At the smallest size and in between only what is compared with the largest size is measured. Later parts add to the
# history, so their order matters.
_EVERYWHERE: tuple[Part, ...] = (requests.measure, exports.measure)
_AT_THE_ENDS: tuple[Part, ...] = (creates.measure,)
_AT_THE_LARGEST: tuple[Part, ...] = (processes.measure, meanwhile.measure, starvation.measure, fairness.measure)


def measure(options: Options, folder: Path) -> None:
    """Build and measure on each database, one after the other, and write the result.

    Raises CantMeasure for the parts that failed, once everything else is measured and written.
    """
    wrk.check_there()
    measured: list[Figures] = []
    failed: list[str] = []
    about: dict[str, Any] = {}
    for kind in options.databases:
        place = (options.history or folder) / kind
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        with ExitStack() as stack:
            holder = opened(kind, place)
            stack.callback(holder.close)
            described = machine.described(options, [holder])
            about = {**described, "databases": [*about.get("databases", []), *described["databases"]]}
            measured.append(Figures(kind))
            sizes = _sizes(options.size)
            for size in sizes:
                failed += _measure_size(options, holder, measured[-1], folder, size, sizes)
        if options.history is None:
            shutil.rmtree(place, ignore_errors=True)
    about |= {"size": options.size, "bytes": options.bytes, "calls": options.calls}
    shown = [figure for each in measured for figure in each.all()]
    results.written(
        f"{NAME}-part" if options.only else NAME,
        "Cost as history grows",
        about,
        figures.cells(shown),
        {"figures": [figure.as_json() for figure in shown], "body": bodies.DESCRIPTION},
        note=f"The body: {bodies.DESCRIPTION}.",
    )
    if failed:
        raise CantMeasure("\n".join(failed))


def _sizes(largest: int) -> list[int]:
    return sorted({size for size in (history.MIN_SIZE, 10 * history.MIN_SIZE) if size < largest} | {largest})


def _measure_size(
    options: Options, holder: Holder, measured: Figures, folder: Path, size: int, sizes: list[int]
) -> list[str]:
    """Measure all parts at one size. Returns why some of them failed."""
    failed = []
    database = _database(options, holder, size)
    server = ours(f"{holder.kind}-{size}", holder.url(database), folder)
    try:
        stage = Stage(options, holder, server, database, size, size == sizes[-1], measured, folder)
        stage.say("waiting until the server is idle")
        seconds = server.wait_until_idle(_IDLE_WITHIN)
        measured.note("start", "until the server is idle", size, seconds, "s")
        with stage.client_closing() as client:
            history.check(client, size)
        parts = [*_EVERYWHERE]
        parts += _AT_THE_ENDS if size in (sizes[0], sizes[-1]) else ()
        parts += _AT_THE_LARGEST if stage.is_last else ()
        for part in parts:
            try:
                part(stage)
            except CantMeasure as error:
                failed.append(f"{holder.kind}, {size}, {part.__module__}: {error}")
            if server.process.poll() is not None:
                failed.append(f"{holder.kind}, {size}: the server ended with {server.process.returncode}.")
                break
    finally:
        server.stop()
        holder.drop(database)
    return failed


def _database(options: Options, holder: Holder, size: int) -> str:
    """A database with a history of this size. With HISTORY it is a copy of one that is loaded once and kept."""
    name, kept = f"{NAME}_{size}", f"history_{size}_{options.bytes}"
    if options.history is None or not holder.has(kept):
        holder.drop(name)
        print(f"  … {holder.kind}: loading {size}", flush=True)
        history.load(holder, name, size, options.bytes)
        if options.history is None:
            return name
        holder.rename(name, kept)
    print(f"  … {holder.kind}: copying the history of {size}", flush=True)
    holder.copy(kept, name)
    return name
