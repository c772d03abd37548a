"""One call of a known organization: how a route reads, writes and validates."""

import asyncio
import concurrent.futures
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection
from starlette.types import Scope

from log10_server.db.database import Database
from log10_server.db.transaction import Tx
from log10_server.db.writer import Writer, wait_for_result
from log10_server.errors import Refusal, Unavailable
from log10_server.runtime.ungraded_backfill import Backfill
from log10_server.services import feedback_tasks
from log10_server.settings import Limits, Settings
from log10_server.store.organizations import OrganizationRow
from log10_server.validation.validators import Validators

T = TypeVar("T")
E = TypeVar("E")
R = TypeVar("R")

_MOST_WAITING_READS = 1000
_SCHEMAS_KEPT = 256
_LONGEST_SCHEMA_KEPT = 1 << 18


# A body beyond this takes long to read, in bytes.
LARGE_BODY = 1 << 18
# Seconds until a database that doesn't answer counts as away; a frozen one keeps its connections open.
TIMEOUT_SECONDS = 8.0
LONG_TIMEOUT_SECONDS = 60.0
# Of the 30 s that an end may take (docs/api.md, "Durability"): uvicorn has had 15 for its calls.
_SECONDS_TO_DRAIN = 8.0


class Runtime:
    """What serves all calls of a process: the database, its writer, readers and validators."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self.writer = Writer(database, settings.waiting_writes, settings.waiting_bytes)
        self.backfill = Backfill(self.read_at_the_door, self.writer)
        self.validators = Validators(settings.validators, settings.validation_ms / 1000)
        self._readers = ThreadPoolExecutor(settings.readers, "reader")
        # Tokens and health: whoever keeps all readers busy must not lock the others out.
        self._doorkeepers = ThreadPoolExecutor(1, "doorkeeper")
        self._reading = 0
        self.held_bytes = 0
        self._schemas: OrderedDict[tuple[str, str], str] = OrderedDict()

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
        self._doorkeepers.shutdown(wait=False, cancel_futures=True)

    @property
    def is_stuck(self) -> bool:
        """Whether a thread still waits for the database after `close`."""
        return self._reading > 0 or self.writer.is_alive

    async def read(self, work: Callable[[Connection], T], timeout: float = TIMEOUT_SECONDS) -> T:
        """What `work` gives in a reading thread.

        Raises Unavailable when the database is away, too many wait, or no answer has come after `timeout` seconds.
        """
        return await self._read(self._readers, work, timeout)

    async def read_at_the_door(self, work: Callable[[Connection], T]) -> T:
        """As `read`, for the short questions that must be answered whatever all else is doing."""
        return await self._read(self._doorkeepers, work, TIMEOUT_SECONDS)

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
    def holding(self) -> Iterator[Callable[[int], None]]:
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

    async def schema_of(self, organization_id: str, task_id: str) -> str:
        """The schema of a task; it never changes, so it is read once. Raises Invalid for an unknown task."""
        key = organization_id, task_id
        if key in self._schemas:
            self._schemas.move_to_end(key)
            return self._schemas[key]

        def find(connection: Connection) -> str:
            return feedback_tasks.named(self.database.tx(connection, organization_id), task_id).json_schema

        schema = await self.read(find)
        if len(schema) <= _LONGEST_SCHEMA_KEPT:
            self._schemas[key] = schema
            if len(self._schemas) > _SCHEMAS_KEPT:
                self._schemas.popitem(last=False)
        return schema


class Context:
    """A call that has been let in: what a route may do for it."""

    __slots__ = ("organization", "runtime", "scope", "size")

    def __init__(self, runtime: Runtime, organization: OrganizationRow, scope: Scope, size: int = 0) -> None:
        self.runtime = runtime
        self.organization = organization
        self.scope = scope
        self.size = size

    @property
    def limits(self) -> Limits:
        return self.runtime.settings.limits

    @property
    def address(self) -> str:
        """Where the caller reaches this server: the public URL where one is set, else what the call itself says."""
        if self.runtime.settings.public_url:
            return self.runtime.settings.public_url.rstrip("/")
        host = next((content.decode("latin-1") for name, content in self.scope["headers"] if name == b"host"), "")
        if not host:  # HTTP/1.0
            host = ":".join(map(str, self.scope["server"]))
        return f"{self.scope['scheme']}://{host}"

    async def read(self, work: Callable[[Tx], T], *, timeout: float = TIMEOUT_SECONDS) -> T:
        """What `work` gives on what is committed now; `timeout` is in seconds."""
        database, organization_id = self.runtime.database, self.organization.id
        return await self.runtime.read(lambda connection: work(database.tx(connection, organization_id)), timeout)

    async def write(self, work: Callable[[Tx], T], *, alone: bool = False) -> T:
        """What `work` gives, once it is on disk; `alone` for work that may take long."""
        return await self.runtime.write(self.organization.id, work, size=self.size, alone=alone)

    async def record(self, recorder: Callable[[Tx, Sequence[E]], Sequence[R | Refusal]], entry: E) -> R:
        """What `recorder` gives for `entry`, once it is on disk; entries that wait are recorded together."""
        return await self.runtime.writer.record(self.organization.id, recorder, entry, self.size, TIMEOUT_SECONDS)

    async def prepared(self, work: Callable[[], T]) -> T:
        """What `work` makes of the body; of a large one in a thread, so that other calls go on meanwhile."""
        return await asyncio.to_thread(work) if self.size > LARGE_BODY else work()

    async def checked(self, json_schema: str) -> None:
        """Raises Invalid for what can't be a task's schema."""
        await self.runtime.validators.check(json_schema)

    async def validated(self, task_id: str, json_values: str) -> None:
        """Raises Invalid for an unknown task, and for values that its schema refuses."""
        schema = await self.runtime.schema_of(self.organization.id, task_id)
        await self.runtime.validators.validate(schema, json_values)
