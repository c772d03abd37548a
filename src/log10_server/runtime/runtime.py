"""What runs beside the requests of one process: reading threads, the writer, background work, validation processes."""

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

# Seconds until a database that doesn't answer counts as away; a frozen one keeps its connections open.
TIMEOUT_SECONDS = 8.0
LONG_TIMEOUT_SECONDS = 60.0
# Of the 30 s that stopping may take (docs/api.md, "Durability"): before this, uvicorn has had 15 for its requests.
_SECONDS_TO_DRAIN = 8.0


class Runtime:
    """All that runs beside the requests of a process, and the ways to use it: `read`, `read_short` and `write`."""

    def __init__(self, settings: Settings, database: Database, fill_next: FillNext) -> None:
        """`fill_next` fills the next piece of the ungraded index for a task; it is a rule of the services above."""
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
        """Start the writer and the backfill, in the running loop; the rest starts when it is used first."""
        self.writer.start()
        self.backfill.start()

    async def close(self) -> None:
        """Finish the writes that wait, then stop everything. A thread that hangs is left behind (`is_stuck`)."""
        await self.backfill.close()
        await asyncio.to_thread(self.writer.close, _SECONDS_TO_DRAIN)
        await self.validators.close()
        self._reads.close()
        self._short_reads.close()

    @property
    def is_stuck(self) -> bool:
        """Whether a thread still waits for the database after `close`."""
        return self._reads.is_stuck or self._short_reads.is_stuck or self.writer.is_alive

    async def read(self, work: Callable[[Connection], T], timeout: float = TIMEOUT_SECONDS) -> T:
        """Run `work` in a reading thread and return its result.

        Raises Unavailable when the database is away, too many reads wait, or no result has come after `timeout` seconds.
        """
        return await self._reads.read(work, timeout)

    async def read_short(self, work: Callable[[Connection], T]) -> T:
        """As `read`, in a lane of its own for look-ups of tokens and health checks: other reads never delay or refuse these."""
        return await self._short_reads.read(work, TIMEOUT_SECONDS)

    async def write(self, organization_id: str, work: Callable[[Tx], T], *, size: int, alone: bool = False) -> T:
        """Run `work` in the writer and return its result, once it is on disk; `size` is about how many bytes it holds.

        `alone` gives it a transaction of its own, and more time. Raises Unavailable when no result has come in time.
        """
        timeout = LONG_TIMEOUT_SECONDS if alone else TIMEOUT_SECONDS
        return await self.writer.write(organization_id, work, size=size, alone=alone, timeout=timeout)
