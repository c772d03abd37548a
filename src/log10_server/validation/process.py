"""One process that validates, seen from the server: started, given a job, killed at its deadline."""

import asyncio
import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from log10_server.validation.worker import ALL_CORES, LENGTH

_WORKER = "log10_server.validation.worker"

_MEMORY_BYTES = 1 << 30
_START_SECONDS = 30.0
_HANDOVER_SECONDS = 5.0  # for the way to it and back
_END_SECONDS = 10.0


class Gone(Exception):
    """The process has ended."""


class Process(asyncio.SubprocessProtocol):
    """A process that does one job at a time. `when_gone` is called when it has ended, whoever ended it.

    It has an alarm set for the deadline, which ends it in the middle of a regular expression. So a job's time counts
    from when the process has read it, on its clock: neither the way nor a busy server shortens it.
    """

    def __init__(self, budget_seconds: float, when_gone: Callable[[], object]) -> None:
        self.is_gone = False
        self._budget_seconds = budget_seconds
        self._when_gone = when_gone
        self._transport: asyncio.SubprocessTransport | None = None
        self._read = bytearray()
        self._frames: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()

    async def start(self) -> None:
        """Start it, and wait until it is ready. Raises OSError (TimeoutError is one) or Gone when it can't."""
        self._transport, _ = await asyncio.get_running_loop().subprocess_exec(
            lambda: self,
            *(sys.executable, "-P", "-W", "ignore", "-m", _WORKER, str(self._budget_seconds), str(_MEMORY_BYTES)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,
        )
        await self._frame(_START_SECONDS)

    async def answer(self, job: bytes) -> bytes:
        """What it says to `job`. Raises TimeoutError when that takes longer than the budget, Gone when it has ended."""
        assert self._transport is not None
        pipe: Any = self._transport.get_pipe_transport(0)
        began = time.monotonic()
        pipe.write(LENGTH.pack(len(job)) + job)  # together: two writes wake it twice
        try:
            return await self._frame(self._budget_seconds + _HANDOVER_SECONDS)
        except Gone:
            await self.end()
            # How it ended is not always to be had: whoever waits for any child of this process may learn it first.
            if time.monotonic() - began >= self._budget_seconds:
                raise TimeoutError from None
            raise
        except TimeoutError:
            self.kill()
            raise

    def kill(self) -> None:
        self._is_over()
        if self._transport is not None:
            with contextlib.suppress(ProcessLookupError):
                self._transport.kill()

    async def end(self) -> None:
        """Kill it, and wait until nothing is left of it."""
        self.kill()
        if self._transport is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await self._ended.wait()
            self._transport.close()

    async def _frame(self, seconds: float) -> bytes:
        """The next frame that it sends. Raises TimeoutError, or Gone when none will come."""
        async with asyncio.timeout(seconds):
            while not self._frames:
                if self.is_gone:
                    raise Gone
                self._changed.clear()
                await self._changed.wait()
        return self._frames.popleft()

    def _is_over(self) -> None:
        if not self.is_gone:
            self.is_gone = True
            self._changed.set()
            self._when_gone()

    def pipe_data_received(self, _fd: int, data: bytes) -> None:
        self._read += data
        while len(self._read) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self._read)[0]
            if len(self._read) < end:
                return
            self._frames.append(bytes(self._read[LENGTH.size : end]))
            del self._read[:end]
            self._changed.set()

    def pipe_connection_lost(self, fd: int, _error: Exception | None) -> None:
        if fd == 1:
            self._is_over()

    def connection_lost(self, _error: Exception | None) -> None:
        self._ended.set()


def _environment() -> dict[str, str]:
    """What it needs to find the same modules, wherever it starts. The server's secrets are not for it."""
    kept = (
        "PATH",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "LD_LIBRARY_PATH",
        "PYTHONHOME",
        "SYSTEMROOT",
        "TMPDIR",
        "TZ",
        ALL_CORES,
    )
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    return {name: os.environ[name] for name in kept if name in os.environ} | {"PYTHONPATH": paths}
