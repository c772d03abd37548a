"""A read lane: a few threads that read the database, in which the organizations take turns."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from log10_server.db.database import Connection, Database
from log10_server.db.writer import wait_for_result
from log10_server.errors import Unavailable
from log10_server.turns import Turns

T = TypeVar("T")


class _Read:
    """A read that waits or runs. `result` belongs to the event loop of its caller."""

    __slots__ = ("deadline", "loop", "organization_id", "result", "work")

    def __init__(self, organization_id: str, work: Callable[[Connection], Any], timeout: float) -> None:
        self.organization_id = organization_id
        self.work = work
        self.deadline = time.monotonic() + timeout
        self.loop = asyncio.get_running_loop()
        self.result: asyncio.Future[Any] = self.loop.create_future()


class ReadLane:
    """A few threads for one kind of reads. Lanes share nothing, so many reads in one lane don't delay another.

    At most `places` new reads wait for a thread. One organization has at most half of the threads, and of those places,
    so that another one always finds a thread that is soon free.
    """

    def __init__(self, database: Database, name: str, *, threads: int, places: int) -> None:
        self._database = database
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, name)
        self._lock = threading.Lock()
        self._turns: Turns[_Read] = Turns(places, max_running=max(1, threads // 2))
        self._is_closed = False

    @property
    def is_stuck(self) -> bool:
        """Whether a read is still unfinished. After `close` this means that a thread waits for the database."""
        return self._turns.running > 0

    async def read(
        self, organization_id: str, work: Callable[[Connection], T], timeout: float, *, is_continued: bool = False
    ) -> T:
        """Run `work` in a thread of this lane and return its result.

        A read whose caller has stopped waiting is dropped if it has not begun. Raises Unavailable when the database is
        unavailable, when there is no result after `timeout` seconds, or when too many reads wait.

        Set `is_continued` when a part of the answer was sent already, because a refusal would cut off the answer. Then
        the read is not refused because too many wait, and it takes turns with the new reads of its organization.
        """
        read = _Read(organization_id, work, timeout)
        with self._lock:
            if self._is_closed:
                raise _stopping()
            self._turns.add(organization_id, read, is_continued=is_continued)
            self._start_reads()
        try:
            result: T = await wait_for_result(read.result, timeout)
            return result
        except BaseException:
            with self._lock:
                self._turns.discard(organization_id, read)
            raise

    def close(self) -> None:
        """Refuse the reads that wait for a thread, and start no more. This does not wait for reads that are running."""
        with self._lock:
            self._is_closed = True
            waiting = self._turns.take_all()
            self._pool.shutdown(wait=False)
        for read in waiting:
            _finish(read, _stopping())

    def _start_reads(self) -> None:
        """Give waiting reads to threads that have nothing to do. The lock must be held."""
        while not self._is_closed and self._turns.running < self._threads:
            read = self._turns.take()
            if read is None:
                return
            self._pool.submit(self._run, read)

    def _run(self, read: _Read) -> None:
        outcome: Any
        try:
            outcome = self._database.read(read.work, read.deadline)
        except BaseException as error:
            outcome = error
        with self._lock:
            self._turns.finish(read.organization_id)
            self._start_reads()
        _finish(read, outcome)


def _stopping() -> Unavailable:
    return Unavailable("The server is stopping.", code="stopping")


def _finish(read: _Read, outcome: Any) -> None:
    """Pass the outcome to the caller, in the event loop of the caller."""
    with suppress(RuntimeError):  # the event loop is closed, so no caller waits any more
        read.loop.call_soon_threadsafe(_resolve, read.result, outcome)


def _resolve(result: asyncio.Future[Any], outcome: Any) -> None:
    if result.done():  # the caller has timed out or disconnected
        return
    if isinstance(outcome, BaseException):
        result.set_exception(outcome)
    else:
        result.set_result(outcome)
