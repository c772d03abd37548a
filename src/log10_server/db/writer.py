"""The writer: many waiting writes, one commit.

A durable commit costs the same for one row as for fifty, so a thread with its own connection takes all writes that
wait, does them in one transaction, and each caller is answered when that transaction is on disk. A lone write does not
wait for others; after a transaction of several, those who come next have a moment to come together (`write_queue`).
A refused write undoes only itself; a failed commit fails every write in it (`batch`).

A write may run twice (another one in its transaction failed, a connection was lost): it is a function of `tx` and of
values, with no effect elsewhere.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from log10_server.db.batch import Batch
from log10_server.db.database import Database
from log10_server.db.transaction import Tx
from log10_server.db.write_queue import NO_ENTRY, Write, WriteQueue
from log10_server.errors import InternalError, Refusal, Unavailable, source_of

T = TypeVar("T")
E = TypeVar("E")
R = TypeVar("R")

log = logging.getLogger(__name__)

_PAUSE = 0.005  # seconds, while another process writes for all organizations whose writes wait here


class Writer:
    """The queue of writes, and the thread that does them."""

    def __init__(self, database: Database, max_waiting: int, max_bytes: int) -> None:
        self._database = database
        self._queue = WriteQueue(max_waiting, max_bytes, splits_batches=database.backend.is_server)
        self._thread = threading.Thread(target=self._serve, name="writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self, seconds: float | None = None) -> None:
        """Do what waits, then end; what comes later is refused. After `seconds` the thread is left to itself."""
        self._queue.close()
        if self.is_alive:
            self._thread.join(seconds)

    @property
    def is_alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    async def write(
        self,
        organization_id: str,
        work: Callable[[Tx], T],
        *,
        size: int = 0,
        alone: bool = False,
        timeout: float | None = None,
    ) -> T:
        """Run `work` and return what it returns, once that is on disk.

        `size` is about its bytes; `alone` keeps it out of others' transactions. Raises the work's own refusal, and
        Unavailable when too much waits, nothing could be stored, or no answer has come after `timeout` seconds.
        """
        result: T = await wait_for_result(self._add(organization_id, work, NO_ENTRY, size, alone), timeout)
        return result

    async def record(
        self,
        organization_id: str,
        recorder: Callable[[Tx, Sequence[E]], Sequence[R | Refusal]],
        entry: E,
        size: int,
        timeout: float | None = None,
    ) -> R:
        """Return what `recorder` returns for `entry`, once that is on disk.

        Waiting entries of one organization go to `recorder` together. It returns a result or a refusal for each, in
        their order, and leaves nothing behind of those that it refuses.
        """
        result: R = await wait_for_result(self._add(organization_id, recorder, entry, size, False), timeout)
        return result

    def _add(
        self, organization_id: str, run: Callable[..., Any], entry: Any, size: int, alone: bool
    ) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        write = Write(organization_id, run, entry, alone, size, loop, loop.create_future())
        self._queue.add(write)
        return write.future

    def _serve(self) -> None:
        while writes := self._queue.take_batch():
            started = time.monotonic()
            batch = Batch(self._database, writes)
            try:
                batch.run()
            except BaseException as error:  # a defect here must not end the thread and leave all callers waiting
                log.error("writer: %s at %s", type(error).__name__, source_of(error))
                for write in writes:
                    write.outcome = InternalError("The write failed.")
            done = [write for write in writes if write not in batch.deferred] if batch.deferred else writes
            self._queue.expect(len(done), time.monotonic() - started)
            _answer(done)
            self._queue.add_again(batch.deferred)
            if not done:
                time.sleep(_PAUSE)


async def wait_for_result(future: asyncio.Future[T], timeout: float | None) -> T:
    """The future's result. Raises Unavailable after `timeout` seconds. A timer costs less than `asyncio.timeout`."""
    if timeout is None:
        return await future
    timer = future.get_loop().call_later(timeout, _time_out, future)
    try:
        return await future
    finally:
        timer.cancel()


def _time_out(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(
            Unavailable(
                "The database did not answer in time. What was sent may still be stored, whole; send it again.",
                code="no_answer",
            )
        )


def _answer(writes: list[Write]) -> None:
    """Give the callers their outcomes, each in its own event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Write]] = {}
    for write in writes:
        by_loop.setdefault(write.loop, []).append(write)
    for loop, its_writes in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, its_writes)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.warning("%d writes were done after their callers had gone", len(its_writes))


def _resolve(writes: list[Write]) -> None:
    for write in writes:
        if write.future.done():
            continue  # the caller has disconnected, so its future was cancelled and takes no result
        if isinstance(write.outcome, BaseException):
            write.future.set_exception(write.outcome)
        else:
            write.future.set_result(write.outcome)
