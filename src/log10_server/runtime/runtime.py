"""The class `Runtime`, which holds the threads, child processes and background tasks of the server process."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from log10_server.db.database import Connection, Database
from log10_server.db.transaction import Tx
from log10_server.db.writer import Writer
from log10_server.runtime.held_bytes import HeldBytes
from log10_server.runtime.read_lane import ReadLane
from log10_server.runtime.schema_cache import SchemaCache
from log10_server.runtime.ungraded_backfill import Backfill, FillNext
from log10_server.settings import Settings
from log10_server.validation.validators import Validators

T = TypeVar("T")

# Seconds after which a call that waits for the database is refused. A timeout is needed, because a frozen database
# keeps its connections open and raises no error.
TIMEOUT_SECONDS = 8.0
LONG_TIMEOUT_SECONDS = 60.0
# Stopping may take 30 s in all (docs/api.md, "Durability"). Before the writer drains, uvicorn has used up to 15 of them
# to finish its requests.
_SECONDS_TO_DRAIN = 8.0


class Runtime:
    """The threads, child processes and background tasks of the server process, and the methods that use them."""

    def __init__(self, settings: Settings, database: Database, fill_next: FillNext) -> None:
        """`fill_next` fills the next part of the ungraded index for a task. The services, a layer above, provide it."""
        self.settings = settings
        self.database = database
        self._reads = ReadLane(database, "reader", settings.readers)
        self._short_reads = ReadLane(database, "short reads", 1)
        self.writer = Writer(database, settings.waiting_writes, settings.waiting_bytes)
        self.held_bytes = HeldBytes(settings.waiting_bytes)
        self.backfill = Backfill(self.read_short, self.writer, fill_next)
        self.validators = Validators(settings.validators, settings.validation_ms / 1000)
        self.schemas = SchemaCache()

    def start(self) -> None:
        """Start the writer, and the backfill in the running event loop.

        Everything else starts when it is first used.
        """
        self.writer.start()
        self.backfill.start()

    async def close(self) -> None:
        """Finish the waiting writes, then stop everything.

        A thread that hangs keeps running; then `is_stuck` is true.
        """
        await self.backfill.close()
        await asyncio.to_thread(self.writer.close, _SECONDS_TO_DRAIN)
        await self.validators.close()
        self._reads.close()
        self._short_reads.close()

    @property
    def is_stuck(self) -> bool:
        """Whether a thread still waits for the database. To be read after `close`."""
        return self._reads.is_stuck or self._short_reads.is_stuck or self.writer.is_alive

    async def read(self, work: Callable[[Connection], T], timeout: float = TIMEOUT_SECONDS) -> T:
        """Run `work` in a reading thread and return its result.

        Raises Unavailable when the database is unavailable, too many reads are waiting, or there is no result after
        `timeout` seconds.
        """
        return await self._reads.read(work, timeout)

    async def read_short(self, work: Callable[[Connection], T]) -> T:
        """The same as `read`, but in a separate lane for short reads, such as token lookups and health checks.

        So long reads can't delay them or cause their refusal.
        """
        return await self._short_reads.read(work, TIMEOUT_SECONDS)

    async def write(self, organization_id: str, work: Callable[[Tx], T], *, size: int, alone: bool = False) -> T:
        """Run `work` in the writer and return its result, once it is on disk; `size` is about how many bytes it holds.

        `alone` gives it a separate transaction, and a longer timeout. Raises Unavailable when there is no result in
        time.
        """
        timeout = LONG_TIMEOUT_SECONDS if alone else TIMEOUT_SECONDS
        return await self.writer.write(organization_id, work, size=size, alone=alone, timeout=timeout)
