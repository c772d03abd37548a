"""Limits how many bytes of answers are in memory: those that are read and encoded, and those that clients receive.

A client that reads slowly, or not at all, keeps its answer in memory. So a long answer is read in pieces, and before
each piece its bytes are reserved here. They are released when the client has received the piece.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from log10_server.errors import Unavailable


class _Waiting:
    """A call that waits for room. Whoever admits it counts its bytes, and wakes it."""

    __slots__ = ("admitted", "is_counted", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.is_counted = False
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class AnswerBytes:
    """Counts the bytes of answers, by organization.

    An organization may hold as many bytes as it leaves for the others: so one holds at most half of the limit, and
    another one that holds nothing finds room at once. A single row may be larger than any limit. So a size counts as a
    quarter of the limit at most. Organizations that wait take turns.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._max_size = limit // 4
        self._total = 0
        self._held: dict[str, int] = {}
        self._waiting: OrderedDict[str, deque[_Waiting]] = OrderedDict()

    def try_add(self, organization_id: str, size: int) -> bool:
        """Count these bytes if there is room for them now. Returns whether they are counted."""
        admits = organization_id not in self._waiting and self._admits(organization_id, size)
        if admits:
            self.add(organization_id, size)
        return admits

    def try_add_first_piece(self, organization_id: str, size: int) -> bool:
        """The same as `try_add`, for bytes that stay counted while the rest of the answer waits in `reserve`.

        They are only counted if `reserve` still has room for its largest size beside them. Otherwise the first pieces
        of an organization could fill its share, and all of them would wait for one another.
        """
        held = self._held.get(organization_id, 0) + size
        free = self._limit - self._total - size - self._max_size
        # While the organization waits, this is false, because then there is not even room for the size that waits.
        admits = held + self._max_size <= free
        if admits:
            self.add(organization_id, size)
        return admits

    def add(self, organization_id: str, size: int) -> None:
        """Count these bytes, even if there is no room for them."""
        self._total += size
        self._held[organization_id] = self._held.get(organization_id, 0) + size

    def subtract(self, organization_id: str, size: int) -> None:
        """Count these bytes no longer, and admit calls that wait for room."""
        self._total -= size
        self._held[organization_id] -= size
        if not self._held[organization_id]:
            del self._held[organization_id]
        self._admit_waiting()

    @asynccontextmanager
    async def reserve(self, organization_id: str, size: int, timeout: float) -> AsyncIterator[None]:
        """A block during which these bytes are counted.

        It waits for room before it begins. Raises Unavailable if there is none after `timeout` seconds.
        """
        size = min(size, self._max_size)
        if not self.try_add(organization_id, size):
            await self._wait(organization_id, size, timeout)
        try:
            yield
        finally:
            self.subtract(organization_id, size)

    async def _wait(self, organization_id: str, size: int, timeout: float) -> None:
        entry = _Waiting(size)
        self._waiting.setdefault(organization_id, deque()).append(entry)
        try:
            async with asyncio.timeout(timeout):
                await entry.admitted
        except BaseException as error:
            if entry.is_counted:  # it was admitted at the same moment
                self.subtract(organization_id, size)
            else:
                self._remove(organization_id, entry)
                self._admit_waiting()
            if isinstance(error, TimeoutError):
                raise Unavailable(
                    "Too many long answers are being sent. Try again in a moment.", code="overloaded"
                ) from None
            raise

    def _admits(self, organization_id: str, size: int) -> bool:
        held = self._held.get(organization_id, 0)
        free = self._limit - self._total - size
        return free >= 0 and (not held or held + size <= free)

    def _admit_waiting(self) -> None:
        """Admit the calls for which there is room, one of each organization in turn."""
        progress = True
        while progress:
            progress = False
            for organization_id in list(self._waiting):
                entry = self._waiting[organization_id][0]
                if self._admits(organization_id, entry.size):
                    self._remove(organization_id, entry)
                    self.add(organization_id, entry.size)
                    entry.is_counted = True
                    if not entry.admitted.done():  # otherwise the call has just been cancelled, and subtracts its bytes
                        entry.admitted.set_result(None)
                    progress = True
                    if organization_id in self._waiting:
                        self._waiting.move_to_end(organization_id)

    def _remove(self, organization_id: str, entry: _Waiting) -> None:
        entries = self._waiting[organization_id]
        entries.remove(entry)
        if not entries:
            del self._waiting[organization_id]
