"""Fills in behind: what a changed task means for older completions, piece by piece while other writes go on.

How far each task is stands in the database, so a process goes on where another one ended, and two that fill the same
task at once only take turns.
"""

import asyncio
import logging
from contextlib import suppress
from functools import partial

from log10_server import store
from log10_server.errors import Refusal, place
from log10_server.services import wanting
from log10_server.store.database import Database
from log10_server.store.writer import Writer

log = logging.getLogger(__name__)

_TASKS_AT_ONCE = 100
_LOOK_AGAIN = 30.0  # seconds until what another process has left behind is seen


class Backfill:
    """The loop of one process. It begins with whatever tasks of all organizations are not whole."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer
        self._woken = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self._run())

    def look(self) -> None:
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
            except Refusal as refusal:  # the database is away, or too much is waiting to be written
                log.info("backfill: %s", refusal.detail)
            except Exception as error:
                log.error("backfill: %s at %s", type(error).__name__, place(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN):
                    await self._woken.wait()

    async def _fill(self) -> bool:
        """Fill a piece of each task that is not whole, if there is any."""
        unfilled = await asyncio.to_thread(self._database.read, partial(store.ungraded.not_whole, most=_TASKS_AT_ONCE))
        for organization_id, task_id in unfilled:
            began = asyncio.get_running_loop().time()
            await self._writer.write(organization_id, partial(wanting.fill_on, task_id=task_id))
            # As long again belongs to the others, whose writes wait while a piece is filled.
            await asyncio.sleep(min(1.0, asyncio.get_running_loop().time() - began))
        return bool(unfilled)
