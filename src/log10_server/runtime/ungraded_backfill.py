"""The backfill of the ungraded index: adds older completions for new and changed tasks, in pieces between other writes.

The database stores the progress of each task. So a process can continue where another one stopped, and two processes
can work on the same task without doing any part twice.
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
    """Adds the next piece of completions to the ungraded index of a task whose backfill is not finished."""

    def __call__(self, tx: Tx, task_id: str) -> None:
        """Add the piece, in the transaction of the task's organization."""


Read = Callable[[Callable[[Connection], list[tuple[str, str]]]], Awaitable[list[tuple[str, str]]]]

_TASKS_PER_ROUND = 100
_SECONDS_BETWEEN_CHECKS = 30.0  # how often to look for backfills that other processes have left unfinished


class Backfill:
    """The background loop of each server process. It backfills the unfinished tasks of all organizations."""

    def __init__(self, read: Read, writer: Writer, fill_next: FillNext) -> None:
        self._read = read
        self._writer = writer
        self._fill_next = fill_next
        self._woken = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the loop in the running event loop. It first continues the backfills that are unfinished."""
        self._running = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Check for unfinished tasks now. Called when a task was created or changed."""
        self._woken.set()

    async def close(self) -> None:
        """Stop the loop. The writer still finishes a piece that it has begun."""
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
                _log_error(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS_BETWEEN_CHECKS):
                    await self._woken.wait()

    async def _fill(self) -> bool:
        """Fill one piece of each unfinished task. Returns whether at least one piece was filled."""
        filled = False
        for organization_id, task_id in await self._read(
            partial(store.ungraded.list_unfinished_backfills, limit=_TASKS_PER_ROUND)
        ):
            started_at = asyncio.get_running_loop().time()
            try:
                await self._writer.write(organization_id, partial(self._fill_next, task_id=task_id))
                filled = True
            except Exception as error:
                # An error of one task must not keep the other tasks from being filled in.
                _log_error(error)
            # Other writes wait while a piece is filled, so leave them as much time before the next piece.
            await asyncio.sleep(min(1.0, asyncio.get_running_loop().time() - started_at))
        return filled


def _log_error(error: Exception) -> None:
    if isinstance(error, Refusal):  # the database is unavailable, or too many writes are waiting
        log.info("backfill: %s", error.detail)
    else:
        log.error("backfill: %s at %s", type(error).__name__, source_of(error))
