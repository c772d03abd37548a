"""`python -m benchmarks [throughput | scale | charts]`; `make bench` and `make bench-scale` set up what it needs."""

import shutil
import signal
import sys
from pathlib import Path

from benchmarks import options
from benchmarks.options import CantMeasure

_COMMANDS = ("throughput", "scale", "charts")


def main() -> int:
    """The exit code: 0 when all went well, whatever the figures are; 2 when nothing can be measured."""
    command = sys.argv[1] if len(sys.argv) > 1 else _COMMANDS[0]
    if command not in _COMMANDS:
        print(f"Unknown: {command}. There are {', '.join(_COMMANDS)}.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _stop)  # as Ctrl-C: servers are ended and databases removed
    try:
        _run(command)
    except CantMeasure as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped; nothing was written.", file=sys.stderr)
        return 130
    return 0


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _run(command: str) -> None:
    # Imported when asked for: the load needs no matplotlib, and the charts no Postgres.
    if command == "charts":
        from benchmarks import charts

        charts.draw()
        return
    chosen = options.from_environment()
    folder: Path = options.scratch()
    try:
        if command == "scale":
            from benchmarks import scale

            scale.measure(chosen, folder)
        else:
            from benchmarks import throughput

            throughput.measure(chosen, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
