"""What serves all calls of one process: its lanes for reading and writing, its background work, its validators."""

import asyncio
import concurrent.futures
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from log10_server.db.database import Connection, Database
from log10_server.db.transaction import Tx
from log10_server.db.writer import Writer, wait_for_result
from log10_server.errors import Unavailable
from log10_server.runtime.schema_cache import SchemaCache
from log10_server.runtime.ungraded_backfill import Backfill, FillNext
from log10_server.settings import Settings
from log10_server.validation.validators import Validators

T = TypeVar("T")

_MOST_WAITING_READS = 1000
# Seconds until a database that doesn't answer counts as away; a frozen one keeps its connections open.
TIMEOUT_SECONDS = 8.0
LONG_TIMEOUT_SECONDS = 60.0
# Of the 30 s that an end may take (docs/api.md, "Durability"): uvicorn has had 15 for its calls.
_SECONDS_TO_DRAIN = 8.0


class Runtime:
    """What serves all calls of a process: the database, its writer, readers and validators."""

    def __init__(self, settings: Settings, database: Database, fill_next: FillNext) -> None:
        """`fill_next` fills the next piece of the ungraded index for a task; it is a rule of the services above."""
        self.settings = settings
        self.database = database
        self.writer = Writer(database, settings.waiting_writes, settings.waiting_bytes)
        self.backfill = Backfill(self.read_short, self.writer, fill_next)
        self.validators = Validators(settings.validators, settings.validation_ms / 1000)
        self._readers = ThreadPoolExecutor(settings.readers, "reader")
        # Look-ups of tokens and health checks have a thread of their own, so that long reads of others never delay them.
        self._short_lane = ThreadPoolExecutor(1, "short reads")
        self._reading = 0
        self.held_bytes = 0
        self.schemas = SchemaCache()

    def start(self) -> None:
        """Begin to serve, in the running loop."""
        self.writer.start()
        self.backfill.start()

    async def close(self) -> None:
        """Finish what stands in line, then let go of everything; what hangs is left behind (`is_stuck`)."""
        await self.backfill.close()
        await asyncio.to_thread(self.writer.close, _SECONDS_TO_DRAIN)
        await self.validators.close()
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._short_lane.shutdown(wait=False, cancel_futures=True)

    @property
    def is_stuck(self) -> bool:
        """Whether a thread still waits for the database after `close`."""
        return self._reading > 0 or self.writer.is_alive

    async def read(self, work: Callable[[Connection], T], timeout: float = TIMEOUT_SECONDS) -> T:
        """What `work` gives in a reading thread.

        Raises Unavailable when the database is away, too many wait, or no answer has come after `timeout` seconds.
        """
        return await self._read(self._readers, work, timeout)

    async def read_short(self, work: Callable[[Connection], T]) -> T:
        """As `read`, for the short questions that must be answered whatever all else is doing."""
        return await self._read(self._short_lane, work, TIMEOUT_SECONDS)

    async def _read(self, threads: ThreadPoolExecutor, work: Callable[[Connection], T], timeout: float) -> T:
        if self._reading >= _MOST_WAITING_READS:
            raise Unavailable("Too many reads are waiting. Try again in a moment.", code="overloaded")
        self._reading += 1
        loop = asyncio.get_running_loop()
        reading: asyncio.Future[T] = loop.create_future()
        give_up = time.monotonic() + timeout

        def read() -> None:
            outcome: Any
            try:
                outcome = self.database.read(work, give_up)
            except BaseException as error:
                outcome = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._has_read, reading, outcome)

        threads.submit(read).add_done_callback(partial(self._was_dropped, loop, reading))
        return await wait_for_result(reading, timeout)

    def _was_dropped(
        self, loop: asyncio.AbstractEventLoop, reading: asyncio.Future[Any], submitted: concurrent.futures.Future[None]
    ) -> None:
        """At the end, reads that still wait are not done."""
        if submitted.cancelled():
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(
                    self._has_read, reading, Unavailable("The server is stopping.", code="stopping")
                )

    def _has_read(self, reading: asyncio.Future[Any], outcome: Any) -> None:
        self._reading -= 1
        if reading.done():  # the caller has gone
            return
        if isinstance(outcome, BaseException):
            reading.set_exception(outcome)
        else:
            reading.set_result(outcome)

    @contextmanager
    def holding_bytes(self) -> Iterator[Callable[[int], None]]:
        """Keeps count of the bytes that a call holds before they stand in line: what it gives is told of each more.

        That raises Unavailable when others hold so much that there is no room for these.
        """
        mine = 0

        def hold(size: int) -> None:
            nonlocal mine
            if self.held_bytes > mine and self.held_bytes + size > self.settings.waiting_bytes:
                raise Unavailable("Too many writes are waiting. Try again in a moment.", code="overloaded")
            mine += size
            self.held_bytes += size

        try:
            yield hold
        finally:
            self.held_bytes -= mine

    async def write(self, organization_id: str, work: Callable[[Tx], T], *, size: int, alone: bool = False) -> T:
        """What `work` gives, once it is on disk. Raises Unavailable when no answer has come in time."""
        timeout = LONG_TIMEOUT_SECONDS if alone else TIMEOUT_SECONDS
        return await self.writer.write(organization_id, work, size=size, alone=alone, timeout=timeout)
