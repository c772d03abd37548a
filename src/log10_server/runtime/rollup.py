"""The background loop that rolls up what was written, in pieces between other writes (`services/background_work`).

It rolls up completions into summaries, for example. The database stores how far each organization is. So a process can
continue where another one stopped, and several processes can work on the same organization without doing any piece
twice.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from log10_server.db.database import Connection, Database
from log10_server.db.transaction import Tx
from log10_server.db.writer import Writer
from log10_server.errors import Refusal, source_of

log = logging.getLogger(__name__)


class RollupRule(Protocol):
    """The rule of the roll-up. The module `services/background_work` is one."""

    def list_organizations(self, connection: Connection) -> list[str]:
        """Return the ids of all organizations."""

    def is_behind(self, tx: Tx) -> bool:
        """Return whether there is a piece to roll up."""

    def advance(self, tx: Tx) -> bool:
        """Roll up the next piece. Returns whether there was one."""


Read = Callable[[Callable[[Connection], list[str]]], Awaitable[list[str]]]

_SECONDS_BETWEEN_CHECKS = 1.0  # how often to check the organizations that this process has written to
_SECONDS_BETWEEN_FULL_CHECKS = 60.0  # how often to look for pieces that other processes have left
_CHECKED_AT_ONCE = 100


class Rollup:
    """The background loop of each server process. It rolls up the completions of all organizations."""

    def __init__(self, database: Database, read: Read, writer: Writer, rule: RollupRule) -> None:
        self._database = database
        self._read = read
        self._writer = writer
        self._rule = rule
        self._written: set[str] = set()
        self._running: asyncio.Task[None] | None = None

    def note(self, organization_id: str) -> None:
        """Note that there may be new completions of this organization."""
        self._written.add(organization_id)

    def start(self) -> None:
        """Start the loop in the running event loop. It first checks all organizations."""
        self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop the loop. The writer still finishes a piece that it has begun."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        next_full_check = loop.time()
        behind: list[str] = []
        while True:
            try:
                if loop.time() >= next_full_check:
                    next_full_check = loop.time() + _SECONDS_BETWEEN_FULL_CHECKS
                    self._written.update(await self._read(self._rule.list_organizations))
                # The others are checked after every round, because one organization may be behind for a long time.
                behind = await self._advance_each(list(dict.fromkeys([*behind, *await self._list_behind()])))
            except Exception as error:
                self._written.update(behind)
                behind = []
                _log_error(error)
            if not behind:
                await asyncio.sleep(_SECONDS_BETWEEN_CHECKS)

    async def _list_behind(self) -> list[str]:
        """Return the organizations for which there is a piece, among those that were noted since the last check."""
        noted, self._written = sorted(self._written), set()
        behind: list[str] = []
        try:
            for start in range(0, len(noted), _CHECKED_AT_ONCE):
                ids = noted[start : start + _CHECKED_AT_ONCE]
                behind += await self._read(partial(self._filter_behind, organization_ids=ids))
        except Exception:
            self._written.update(noted)
            raise
        return behind

    def _filter_behind(self, connection: Connection, organization_ids: Sequence[str]) -> list[str]:
        return [each for each in organization_ids if self._rule.is_behind(self._database.tx(connection, each))]

    async def _advance_each(self, organization_ids: Sequence[str]) -> list[str]:
        """Roll up one piece of each organization. Returns the organizations for which there was one."""
        return [each for each in organization_ids if await self._advance(each)]

    async def _advance(self, organization_id: str) -> bool:
        started_at = asyncio.get_running_loop().time()
        has_advanced = False
        try:
            has_advanced = await self._writer.write(organization_id, self._rule.advance, alone=True)
        except Exception as error:
            # An error of one organization must not keep the others from being rolled up.
            _log_error(error)
        # Other writes wait while a piece is rolled up, so leave them as much time before the next piece.
        await asyncio.sleep(min(1.0, asyncio.get_running_loop().time() - started_at))
        return has_advanced


def _log_error(error: Exception) -> None:
    if isinstance(error, Refusal):  # the database is unavailable, or too many writes are waiting
        log.info("roll-up: %s", error.detail)
    else:
        log.error("roll-up: %s at %s", type(error).__name__, source_of(error))
