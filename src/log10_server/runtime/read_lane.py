"""A read lane: a pool of threads that read the database, with a limit on how many reads may wait for a thread."""

import asyncio
import concurrent.futures
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from log10_server.db.database import Connection, Database
from log10_server.db.writer import wait_for_result
from log10_server.errors import Unavailable

T = TypeVar("T")

# The most reads of one lane that may wait or run. Any further reads would probably time out before they began.
_MAX_WAITING_READS = 1000


class ReadLane:
    """A pool of threads for reads, with a limit. Lanes share nothing, so many reads in one lane don't delay another."""

    def __init__(self, database: Database, name: str, threads: int) -> None:
        self._database = database
        self._threads = ThreadPoolExecutor(threads, name)
        self._unfinished = 0

    @property
    def is_stuck(self) -> bool:
        """Whether a read is still unfinished. After `close` this means that a thread waits for the database."""
        return self._unfinished > 0

    async def read(self, work: Callable[[Connection], T], timeout: float) -> T:
        """Run `work` in a thread of this lane and return its result.

        Raises Unavailable when the database is unavailable, too many reads are waiting, or there is no result after
        `timeout` seconds.
        """
        if self._unfinished >= _MAX_WAITING_READS:
            raise Unavailable("Too many reads are waiting. Try again in a moment.", code="overloaded")
        self._unfinished += 1
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        deadline = time.monotonic() + timeout

        def run() -> None:
            outcome: Any
            try:
                outcome = self._database.read(work, deadline)
            except BaseException as error:
                outcome = error
            with suppress(RuntimeError):  # the event loop is closed, so no caller waits any more
                loop.call_soon_threadsafe(self._finish, result, outcome)

        self._threads.submit(run).add_done_callback(partial(self._refuse_if_cancelled, loop, result))
        return await wait_for_result(result, timeout)

    def close(self) -> None:
        """Refuse the reads that wait for a thread, and start no more. This does not wait for reads that are running."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _refuse_if_cancelled(
        self, loop: asyncio.AbstractEventLoop, result: asyncio.Future[Any], submitted: concurrent.futures.Future[None]
    ) -> None:
        """Refuse a read that `close` cancelled before a thread began it."""
        if submitted.cancelled():
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._finish, result, Unavailable("The server is stopping.", code="stopping"))

    def _finish(self, result: asyncio.Future[Any], outcome: Any) -> None:
        self._unfinished -= 1
        if result.done():  # the caller has timed out or disconnected
            return
        if isinstance(outcome, BaseException):
            result.set_exception(outcome)
        else:
            result.set_result(outcome)
