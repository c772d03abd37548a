"""The class `Runtime`, which holds the threads, child processes and background tasks of the server process."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from log10_server.db.database import Connection, Database
from log10_server.db.transaction import Tx
from log10_server.db.writer import Writer
from log10_server.runtime.answer_bytes import AnswerBytes
from log10_server.runtime.held_bytes import HeldBytes
from log10_server.runtime.read_lane import ReadLane
from log10_server.runtime.rollup import Rollup, RollupRule
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
# The most new reads of one lane that may wait. Any further reads would probably time out before they began.
_MAX_WAITING_READS = 1000
# Long reads run in few threads, so that they leave most of the machine to other calls, and few may wait, because each
# takes up to some seconds.
LONG_READERS = 2
MAX_WAITING_LONG_READS = 32


class Runtime:
    """The threads, child processes and background tasks of the server process, and the methods that use them."""

    def __init__(self, settings: Settings, database: Database, fill_next: FillNext, rollup_rule: RollupRule) -> None:
        """The services, a layer above, provide the rules of the background jobs.

        `fill_next` fills the next part of the ungraded index for a task, and `rollup_rule` moves on the roll-up.
        """
        self.settings = settings
        self.database = database
        self._lists = ReadLane(database, "reader", threads=settings.readers, places=_MAX_WAITING_READS)
        self._long_reads = ReadLane(database, "long reads", threads=LONG_READERS, places=MAX_WAITING_LONG_READS)
        self._look_ups = ReadLane(database, "look-ups", threads=2, places=_MAX_WAITING_READS)
        self._known_tokens = ReadLane(database, "known tokens", threads=1, places=2)
        self._unknown_tokens = ReadLane(database, "unknown tokens", threads=1, places=2)
        self._health = ReadLane(database, "health", threads=1, places=2)
        self._ping: asyncio.Task[None] | None = None
        self._short_reads = ReadLane(database, "short reads", threads=1, places=_MAX_WAITING_READS)
        self.writer = Writer(database, settings.waiting_writes, settings.waiting_bytes)
        self.held_bytes = HeldBytes(settings.waiting_bytes)
        self.answer_bytes = AnswerBytes(settings.answer_bytes)
        self.backfill = Backfill(self.read_short, self.writer, fill_next)
        self.rollup = Rollup(database, self.read_short, self.writer, rollup_rule)
        self.validators = Validators(settings.validators, settings.validation_ms / 1000)
        self.schemas = SchemaCache()

    def start(self) -> None:
        """Start the writer, and the background jobs in the running event loop.

        Everything else starts when it is first used.
        """
        self.writer.start()
        self.backfill.start()
        self.rollup.start()

    async def close(self) -> None:
        """Finish the waiting writes, then stop everything.

        A thread that hangs keeps running; then `is_stuck` is true.
        """
        await self.backfill.close()
        await self.rollup.close()
        await asyncio.to_thread(self.writer.close, _SECONDS_TO_DRAIN)
        await self.validators.close()
        for lane in self._lanes:
            lane.close()

    @property
    def is_stuck(self) -> bool:
        """Whether a thread still waits for the database. To be read after `close`."""
        return any(lane.is_stuck for lane in self._lanes) or self.writer.is_alive

    @property
    def _lanes(self) -> tuple[ReadLane, ...]:
        tokens = self._known_tokens, self._unknown_tokens
        return self._lists, self._long_reads, self._look_ups, *tokens, self._health, self._short_reads

    async def read(self, organization_id: str, work: Callable[[Connection], T], *, is_continued: bool = False) -> T:
        """Run `work`, which reads a page of a list or a few rows, and return its result.

        Raises Unavailable when the database is unavailable, too many reads are waiting, or there is no result in time.

        `is_continued` says that a part of the answer was sent already, so that a refusal would cut off the answer. Then
        the read is never refused because too many are waiting, and it has the timeout of long reads.
        """
        timeout = LONG_TIMEOUT_SECONDS if is_continued else TIMEOUT_SECONDS
        return await self._lists.read(organization_id, work, timeout, is_continued=is_continued)

    async def read_long(self, organization_id: str, work: Callable[[Connection], T], *, is_continued: bool) -> T:
        """The same as `read`, but for work that may read many rows: it has separate threads and a longer timeout."""
        return await self._long_reads.read(organization_id, work, LONG_TIMEOUT_SECONDS, is_continued=is_continued)

    async def look_up(self, organization_id: str, work: Callable[[Connection], T]) -> T:
        """The same as `read`, but for what a write needs to know before it begins, such as the schema of a task.

        It has separate threads, so lists can't delay a write.
        """
        return await self._look_ups.read(organization_id, work, TIMEOUT_SECONDS)

    async def read_known_tokens(self, work: Callable[[Connection], T]) -> T:
        """The same as `read`, but for looking up tokens that were valid before. It has a separate thread."""
        return await self._known_tokens.read("", work, TIMEOUT_SECONDS)

    async def read_unknown_tokens(self, work: Callable[[Connection], T]) -> T:
        """The same as `read_known_tokens`, for all other tokens. It has a separate thread, because anyone can send them."""
        return await self._unknown_tokens.read("", work, TIMEOUT_SECONDS)

    async def check_health(self) -> None:
        """Run a trivial query, with a thread that nothing else uses. Simultaneous calls share a query.

        Raises Unavailable when the database does not answer in time.
        """
        if self._ping is None or self._ping.done():
            self._ping = asyncio.create_task(self._health.read("", self.database.ping, TIMEOUT_SECONDS))
            self._ping.add_done_callback(lambda ping: ping.cancelled() or ping.exception())  # all callers may have gone
        await asyncio.shield(self._ping)

    async def read_short(self, work: Callable[[Connection], T]) -> T:
        """The same as `read`, but for the background jobs, which belong to no organization."""
        return await self._short_reads.read("", work, TIMEOUT_SECONDS)

    async def write(
        self, organization_id: str, work: Callable[[Tx], T], *, size: int, links: int = 0, alone: bool = False
    ) -> T:
        """Run `work` in the writer and return its result, once it is on disk.

        `size` is about how many bytes it holds, and `links` about how many rows of link tables it writes. `alone` gives
        it a separate transaction, and a longer timeout. Raises Unavailable when there is no result in time.
        """
        self.rollup.note(organization_id)
        timeout = LONG_TIMEOUT_SECONDS if alone else TIMEOUT_SECONDS
        return await self.writer.write(organization_id, work, size=size, links=links, alone=alone, timeout=timeout)
