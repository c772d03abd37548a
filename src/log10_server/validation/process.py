"""The server's side of a validation process: it starts the process, sends it one job at a time, and ends it."""

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
_TRANSFER_SECONDS = 5.0  # for sending the job and its answer
_END_SECONDS = 10.0


class ProcessEnded(Exception):
    """The process has ended, so that no answer will come."""


class Process(asyncio.SubprocessProtocol):
    """A process that does one job at a time. `when_ended` is called once, when it ends for any reason.

    The process sets an alarm that ends it at the deadline, even in the middle of a regular expression. The time of a
    job counts from when the process has read it, so a slow transfer or a busy server does not shorten it.
    """

    def __init__(self, budget_seconds: float, when_ended: Callable[[], object]) -> None:
        self.has_ended = False
        self._budget_seconds = budget_seconds
        self._when_ended = when_ended
        self._transport: asyncio.SubprocessTransport | None = None
        self._read = bytearray()
        self._frames: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()

    async def start(self) -> None:
        """Start the process, and wait until it is ready. Raises OSError (TimeoutError is one) or ProcessEnded."""
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
        """Send a job, and return the answer. Raises TimeoutError after the budget, or ProcessEnded.

        In both cases the process has ended or is being ended.
        """
        assert self._transport is not None
        pipe: Any = self._transport.get_pipe_transport(0)
        began = time.monotonic()
        pipe.write(LENGTH.pack(len(job)) + job)  # in one write, because two would wake the process twice
        try:
            return await self._frame(self._budget_seconds + _TRANSFER_SECONDS)
        except ProcessEnded:
            await self.end()
            # The exit status would tell whether the alarm ended the process. But it is not always available: other code
            # that waits for any child of the server may collect it first. So the time that has passed decides.
            if time.monotonic() - began >= self._budget_seconds:
                raise TimeoutError from None
            raise
        except TimeoutError:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill the process, without waiting until it has ended."""
        self._set_ended()
        if self._transport is not None:
            with contextlib.suppress(ProcessLookupError):
                self._transport.kill()

    async def end(self) -> None:
        """Kill the process, and wait until it has ended."""
        self.kill()
        if self._transport is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await self._ended.wait()
            self._transport.close()

    async def _frame(self, seconds: float) -> bytes:
        """The next frame that the process sends. Raises TimeoutError or ProcessEnded."""
        async with asyncio.timeout(seconds):
            while not self._frames:
                if self.has_ended:
                    raise ProcessEnded
                self._changed.clear()
                await self._changed.wait()
        return self._frames.popleft()

    def _set_ended(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self._changed.set()
            self._when_ended()

    def pipe_data_received(self, _fd: int, data: bytes) -> None:
        """Called by asyncio: collect the output of the process, and cut it into frames."""
        self._read += data
        while len(self._read) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self._read)[0]
            if len(self._read) < end:
                return
            self._frames.append(bytes(self._read[LENGTH.size : end]))
            del self._read[:end]
            self._changed.set()

    def pipe_connection_lost(self, fd: int, _error: Exception | None) -> None:
        """Called by asyncio: the process has closed its output, so it has ended."""
        if fd == 1:
            self._set_ended()

    def connection_lost(self, _error: Exception | None) -> None:
        """Called by asyncio when the process has ended and all its pipes are closed."""
        self._ended.set()


def _environment() -> dict[str, str]:
    """The environment variables that the process needs. It gets no others, so that it has no access to secrets."""
    names = (
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
    return {name: os.environ[name] for name in names if name in os.environ} | {"PYTHONPATH": paths}
