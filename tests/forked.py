"""`log10-server` in a process that is forked from one that has already imported it.

Importing the server costs most of what a start of it costs, and the tests start it several hundred times.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_forks = multiprocessing.get_context("forkserver")
# The modules that commands import at the start and those that `serve` imports later.
_forks.set_forkserver_preload([__name__, "log10_server.cli", "log10_server.cli.server"])


class ForkedProcess:
    """A command in a process of its own, with the methods of `subprocess.Popen` that tests use.

    Its standard input, output and error stream are files.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        stdout: Path,
        stderr: Path | None = None,
        stdin: Path = Path(os.devnull),
    ) -> None:
        """Start the process. Without `stderr` both streams are written to `stdout`."""
        self._process = _forks.Process(
            target=_run, args=(list(argv), dict(environment), folder, stdin, stdout, stderr), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal, or None while the process runs."""
        return self.poll()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process and return its exit code. Raises TimeoutExpired."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("log10-server", timeout or 0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(
    argv: list[str], environment: dict[str, str], folder: Path, stdin: Path, stdout: Path, stderr: Path | None
) -> None:
    """Run a command as the console script `log10-server` does, but with the interpreter that runs already."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((0, stdin), (1, stdout), (2, stderr)):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
        source = 1 if path is None else os.open(path, flags, 0o600)
        os.dup2(source, number)
    sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.argv = list(argv)
    from log10_server.cli import main

    main()
