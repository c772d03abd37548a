"""The class `Context`, with which a request handler calls the services: who calls, and how to read and write."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from log10_server.db.database import Connection
from log10_server.db.transaction import Tx
from log10_server.errors import Refusal
from log10_server.runtime.runtime import TIMEOUT_SECONDS, Runtime
from log10_server.settings import Limits
from log10_server.store.feedback import AuthorKind
from log10_server.store.organizations import OrganizationRow

T = TypeVar("T")
E = TypeVar("E")
R = TypeVar("R")

# A body of more bytes than this is parsed in a thread, because parsing it in the event loop would delay other calls.
LARGE_BODY = 1 << 18


class Actor(NamedTuple):
    """Who makes a call, and is the author of the feedback that the call adds. `name` is the name to show."""

    id: str
    name: str
    kind: AuthorKind


class Caller(NamedTuple):
    """What a token identifies: the organization it belongs to, and the actor who uses it."""

    organization: OrganizationRow
    actor: Actor


class Context:
    """One authenticated call of the API. `size` is about how many bytes the call holds in memory."""

    __slots__ = ("actor", "organization", "runtime", "size")

    def __init__(self, runtime: Runtime, caller: Caller, size: int = 0) -> None:
        self.runtime = runtime
        self.organization, self.actor = caller
        self.size = size

    @property
    def limits(self) -> Limits:
        """The limits that an operator can set."""
        return self.runtime.settings.limits

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work`, which reads a page of a list or a few rows, in a read transaction, and return its result.

        Raises Unavailable when the database is unavailable, too many reads are waiting, or there is no result in time.
        """
        return await self.runtime.read(self.organization.id, self._with_tx(work))

    async def read_long(self, work: Callable[[Tx], T], *, is_continued: bool = False) -> T:
        """The same as `read`, for work that may read many rows, such as usage, an export, or a filter without an index.

        Few long reads run at a time, and they never delay those of `read` and `look_up`. Set `is_continued` when a part
        of the answer was sent already: then the read is not refused because too many are waiting.
        """
        return await self.runtime.read_long(self.organization.id, self._with_tx(work), is_continued=is_continued)

    async def look_up(self, work: Callable[[Tx], T]) -> T:
        """The same as `read`, for what a write needs to know before it begins. Lists can't delay it."""
        return await self.runtime.look_up(self.organization.id, self._with_tx(work))

    async def write(self, work: Callable[[Tx], T], *, links: int = 0, alone: bool = False) -> T:
        """Run `work` in a transaction and return its result, once it is committed.

        `links` is about how many rows of link tables it writes, such as the tags of completions. Work that writes many
        needs them for its organization to take fair turns.

        `alone` runs the work in a separate transaction. Use it for slow work, so that no other write shares its commit.
        """
        return await self.runtime.write(self.organization.id, work, size=self.size, links=links, alone=alone)

    async def record(
        self, recorder: Callable[[Tx, Sequence[E]], Sequence[R | Refusal]], entry: E, *, links: int = 0
    ) -> R:
        """Record `entry`, and return the result of `recorder` for it, once it is committed.

        `links` is about how many rows of link tables the entry needs, as in `write`. Waiting entries of the same
        organization and recorder are recorded in one call. Raises the Refusal that `recorder` returns for this entry.
        """
        self.runtime.rollup.note(self.organization.id)
        return await self.runtime.writer.record(
            self.organization.id, recorder, entry, self.size, links, TIMEOUT_SECONDS
        )

    async def compute(self, work: Callable[[], T]) -> T:
        """Run `work`, which parses the body, and return its result.

        For a large body it runs in a thread, so that it does not delay other calls.
        """
        return await asyncio.to_thread(work) if self.size > LARGE_BODY else work()

    def _with_tx(self, work: Callable[[Tx], T]) -> Callable[[Connection], T]:
        database, organization_id = self.runtime.database, self.organization.id
        return lambda connection: work(database.tx(connection, organization_id))
