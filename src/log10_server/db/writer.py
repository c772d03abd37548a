"""The writer, which stores many waiting writes with one commit.

A durable commit costs the same for one row as for fifty. So one thread takes waiting writes, runs them in one
transaction, and answers each caller when that transaction is on disk. A single write does not wait for others. When
many wait, organizations take turns, and a transaction takes only as many writes as fit its time (`write_queue`). After a
transaction of several writes, the next one waits a few milliseconds for more writes to arrive (`write_queue`). A
refused write is rolled back alone; a failed commit fails every write in it (`batch`).

A write may run twice, because another write in its transaction failed or the connection was lost. So it must be a
function of `tx` and of values that has no effect outside the transaction.
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

_ANSWERS_AT_ONCE = 32  # how many callers are answered in one turn of the event loop


class Writer:
    """The queue of writes, and the thread that runs them."""

    def __init__(self, database: Database, max_waiting: int, max_bytes: int) -> None:
        self._database = database
        self._queue = WriteQueue(max_waiting, max_bytes, splits_batches=database.backend.is_server)
        self._thread = threading.Thread(target=self._serve, name="writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, seconds: float | None = None) -> None:
        """Refuse new writes, and wait until the waiting ones are done, for at most `seconds`.

        The thread is never killed.
        """
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
        links: int = 0,
        alone: bool = False,
        timeout: float | None = None,
    ) -> T:
        """Run `work` and return its result, once its transaction is on disk.

        `size` is about how many bytes the work holds in memory, and `links` about how many rows of link tables it
        writes. They are its cost, by which organizations take turns. `alone` gives it a separate transaction. Raises
        the refusal that `work` raises. Raises Unavailable when too many writes are waiting, when the database is
        unavailable, or when there is no result after `timeout` seconds.
        """
        result: T = await wait_for_result(self._add(organization_id, work, NO_ENTRY, size, links, alone), timeout)
        return result

    async def record(
        self,
        organization_id: str,
        recorder: Callable[[Tx, Sequence[E]], Sequence[R | Refusal]],
        entry: E,
        size: int,
        links: int = 0,
        timeout: float | None = None,
    ) -> R:
        """Return what `recorder` returns for `entry`, once its transaction is on disk.

        All waiting entries of one organization are passed to `recorder` in one call. It must return a result or a
        refusal for each, in their order, and store nothing of the entries that it refuses.
        """
        result: R = await wait_for_result(self._add(organization_id, recorder, entry, size, links, False), timeout)
        return result

    def _add(
        self, organization_id: str, run: Callable[..., Any], entry: Any, size: int, links: int, alone: bool
    ) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        write = Write(organization_id, run, entry, alone, size, links, loop, loop.create_future())
        self._queue.add(write)
        return write.future

    def _serve(self) -> None:
        while writes := self._queue.take_batch():
            started = time.monotonic()
            batch = Batch(self._database, writes)
            try:
                batch.run()
            except BaseException as error:  # a bug must not end the thread, because all callers would wait forever
                log.error("writer: %s at %s", type(error).__name__, source_of(error))
                for write in writes:
                    write.outcome = InternalError("The write failed.")
            done = [write for write in writes if write not in batch.deferred] if batch.deferred else writes
            self._queue.report_costs(batch.costs)
            self._queue.expect(len(done), time.monotonic() - started)
            _answer(done)
            self._queue.add_again(batch.deferred)


async def wait_for_result(future: asyncio.Future[T], timeout: float | None) -> T:
    """The future's result. Raises Unavailable after `timeout` seconds.

    This uses a timer because that costs less than `asyncio.timeout`.
    """
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
                "The database did not answer in time, so the request is stored completely or not at all. If it has an id, "
                "it can safely be sent again.",
                code="no_answer",
            )
        )


def _answer(writes: list[Write]) -> None:
    """Pass each outcome to its caller, in the event loop of that caller."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Write]] = {}
    for write in writes:
        by_loop.setdefault(write.loop, []).append(write)
    for loop, writes_of_loop in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, writes_of_loop)
        except RuntimeError:  # the event loop is closed, so no caller waits any more
            log.warning("%d writes were done after their callers had gone", len(writes_of_loop))


def _resolve(writes: list[Write]) -> None:
    if len(writes) > _ANSWERS_AT_ONCE:
        # Each answer wakes a call, and all of them would run before anything else that the event loop has to do.
        writes[0].loop.call_soon(_resolve, writes[_ANSWERS_AT_ONCE:])
    for write in writes[:_ANSWERS_AT_ONCE]:
        if write.future.done():
            continue  # the caller has disconnected, so its future was cancelled and takes no result
        if isinstance(write.outcome, BaseException):
            write.future.set_exception(write.outcome)
        else:
            write.future.set_result(write.outcome)
