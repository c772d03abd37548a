"""Fills in behind: what a changed task means for older completions, piece by piece while other writes go on.

How far each task is stands in the database, so a process goes on where another one ended, and two that fill the same
task at once only take turns.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from log10_server import store
from log10_server.db.database import Connection
from log10_server.db.transaction import Tx
from log10_server.db.writer import Writer
from log10_server.errors import Refusal, source_of

log = logging.getLogger(__name__)


class FillNext(Protocol):
    """Fills the next piece of the ungraded index for a task that is not whole yet."""

    def __call__(self, tx: Tx, task_id: str) -> None: ...


Read = Callable[[Callable[[Connection], list[tuple[str, str]]]], Awaitable[list[tuple[str, str]]]]

_TASKS_AT_ONCE = 100
_LOOK_AGAIN = 30.0  # seconds until what another process has left behind is seen


class Backfill:
    """The loop of one process. It begins with whatever tasks of all organizations are not whole."""

    def __init__(self, read: Read, writer: Writer, fill_next: FillNext) -> None:
        self._read = read
        self._writer = writer
        self._fill_next = fill_next
        self._woken = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self._run())

    def wake(self) -> None:
        """A task was changed: there may be something to do."""
        self._woken.set()

    async def close(self) -> None:
        """End between two pieces, or leave one to the writer."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                while await self._fill():
                    pass
            except Exception as error:
                _tell(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN):
                    await self._woken.wait()

    async def _fill(self) -> bool:
        """Fill a piece of each task that is not whole; gives whether there was any, and one of them could be filled."""
        filled = False
        for organization_id, task_id in await self._read(
            partial(store.ungraded.list_unfinished_backfills, limit=_TASKS_AT_ONCE)
        ):
            began = asyncio.get_running_loop().time()
            try:
                await self._writer.write(organization_id, partial(self._fill_next, task_id=task_id))
                filled = True
            except Exception as error:
                # An error of one task must not keep the other tasks from being filled in.
                _tell(error)
            # As long again belongs to the others, whose writes wait while a piece is filled.
            await asyncio.sleep(min(1.0, asyncio.get_running_loop().time() - began))
        return filled


def _tell(error: Exception) -> None:
    if isinstance(error, Refusal):  # the database is away, or too much is waiting to be written
        log.info("backfill: %s", error.detail)
    else:
        log.error("backfill: %s at %s", type(error).__name__, source_of(error))
