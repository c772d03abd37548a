"""What a use case is given: the organization and the actor of a call, and the ways to read, write and validate."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from log10_server.db.transaction import Tx
from log10_server.errors import Refusal
from log10_server.runtime.runtime import TIMEOUT_SECONDS, Runtime
from log10_server.settings import Limits
from log10_server.store.feedback import AuthorKind
from log10_server.store.organizations import OrganizationRow

T = TypeVar("T")
E = TypeVar("E")
R = TypeVar("R")

# To read a body of more bytes takes long enough to do it in a thread.
LARGE_BODY = 1 << 18


class Actor(NamedTuple):
    """Who acts: what the author of new feedback is. `name` is the name to show; `kind` says what bears it."""

    id: str
    name: str
    kind: AuthorKind


class Caller(NamedTuple):
    """Whom a token stands for: the organization that it belongs to, and who acts with it."""

    organization: OrganizationRow
    actor: Actor


class Context:
    """One call of a known organization and actor. `size` is about how many bytes the call holds in memory."""

    __slots__ = ("actor", "organization", "runtime", "size")

    def __init__(self, runtime: Runtime, caller: Caller, size: int = 0) -> None:
        self.runtime = runtime
        self.organization, self.actor = caller
        self.size = size

    @property
    def limits(self) -> Limits:
        """The limits that an operator can set."""
        return self.runtime.settings.limits

    async def read(self, work: Callable[[Tx], T], *, timeout: float = TIMEOUT_SECONDS) -> T:
        """What `work` gives on what is committed now; `timeout` is in seconds."""
        database, organization_id = self.runtime.database, self.organization.id
        return await self.runtime.read(lambda connection: work(database.tx(connection, organization_id)), timeout)

    async def write(self, work: Callable[[Tx], T], *, alone: bool = False) -> T:
        """What `work` gives, once it is on disk; `alone` keeps work that may take long out of others' transactions."""
        return await self.runtime.write(self.organization.id, work, size=self.size, alone=alone)

    async def record(self, recorder: Callable[[Tx, Sequence[E]], Sequence[R | Refusal]], entry: E) -> R:
        """What `recorder` gives for `entry`, once it is on disk; entries that wait are recorded together."""
        return await self.runtime.writer.record(self.organization.id, recorder, entry, self.size, TIMEOUT_SECONDS)

    async def compute(self, work: Callable[[], T]) -> T:
        """What `work` makes of the body; of a large one in a thread, so that other calls go on meanwhile."""
        return await asyncio.to_thread(work) if self.size > LARGE_BODY else work()
