"""Limits how many bytes of request bodies the process holds in memory, from their arrival until they are answered.

Organizations share the limit fairly (`fair_share`). A client that holds much and sends slowly, or not at all, could
keep others waiting until its connection times out. So its body is refused as soon as another body needs the room.
"""

import asyncio
import time
from collections.abc import Awaitable

from log10_server.errors import Unavailable
from log10_server.fair_share import SMALL_BYTES, FairShare

# A body is slow when nothing has arrived for this time, or when it arrives at a lower rate, measured after this time.
_STALL_SECONDS = 2.0
_MIN_BYTES_PER_SECOND = 128 << 10


class HeldBytes:
    """Counts the bytes that all bodies hold, and refuses more than `limit`.

    While no other body holds any, a body may exceed it; the limit on the size of a body still applies.
    """

    def __init__(self, limit: int) -> None:
        self._share = FairShare(limit, SMALL_BYTES)
        self._arriving: set[HeldBody] = set()

    @property
    def total(self) -> int:
        """How many bytes are held."""
        return self._share.total

    def add(self, body: "HeldBody", size: int) -> None:
        """Count `size` more bytes of a body. Raises Unavailable if there is no room for them."""
        others_hold_bytes = self._share.total > body.size
        if others_hold_bytes and not self._has_room(body, size):
            self._refuse_slow_bodies(body, size)
        body.size += size
        self._share.add(body.organization_id, size)

    def release(self, body: "HeldBody") -> None:
        """Subtract all bytes of a body."""
        if body.size:
            self._share.subtract(body.organization_id, body.size)
            body.size = 0

    async def wait_for_part(self, body: "HeldBody", part: Awaitable[object]) -> object:
        """Wait for the next part of a body. Raises Unavailable when the body is slow and another one needs the room."""
        body.task = asyncio.current_task()
        self._arriving.add(body)
        try:
            return await part
        except asyncio.CancelledError:
            if not body.is_refused or body.task is None or body.task.uncancel():
                raise
            raise Unavailable(
                "The body arrives too slowly while other bodies wait. Try again in a moment.", code="overloaded"
            ) from None
        finally:
            self._arriving.discard(body)
            body.progress_at = time.monotonic()

    def _has_room(self, body: "HeldBody", size: int) -> bool:
        return self._share.admits(body.organization_id, size, is_small=body.size + size <= SMALL_BYTES)

    def _refuse_slow_bodies(self, body: "HeldBody", size: int) -> None:
        """Refuse slow bodies until there is room, the largest ones of the same organization first.

        None is refused if that would not make enough room. A body of another organization is refused only for an
        organization that would not hold more than its share, or than that other one. Otherwise an organization that has
        used up its share could end the slow bodies of others.
        """
        now = time.monotonic()
        would_hold = self._share.held_by(body.organization_id) + size
        slow = [
            other
            for other in self._arriving
            if other is not body
            and other.is_slow(now)
            and (
                other.organization_id == body.organization_id
                or would_hold <= max(self._share.most_of_one, self._share.held_by(other.organization_id))
            )
        ]
        slow.sort(key=lambda other: (other.organization_id != body.organization_id, -other.size))
        for number, other in enumerate(slow):
            self._share.subtract(other.organization_id, other.size)
            if self._has_room(body, size):
                for refused in slow[: number + 1]:
                    refused.size = 0
                    refused.refuse()
                    self._arriving.discard(refused)
                return
        for other in slow:
            self._share.add(other.organization_id, other.size)
        raise Unavailable("Too many bytes are waiting. Try again in a moment.", code="overloaded")


class HeldBody:
    """The part of one request's body that has arrived."""

    __slots__ = ("began_at", "is_refused", "organization_id", "progress_at", "size", "task")

    def __init__(self, organization_id: str) -> None:
        self.organization_id = organization_id
        self.size = 0
        self.began_at = self.progress_at = time.monotonic()
        self.is_refused = False
        self.task: asyncio.Task[object] | None = None  # the task that waits for the next part

    def is_slow(self, now: float) -> bool:
        """Whether the rest of the body does not arrive, or arrives too slowly for what the body holds."""
        seconds = now - self.began_at
        if seconds < _STALL_SECONDS or not self.size:
            return False
        return now - self.progress_at > _STALL_SECONDS or self.size < seconds * _MIN_BYTES_PER_SECOND

    def refuse(self) -> None:
        """End the wait for the next part with a refusal."""
        self.is_refused = True
        if self.task is not None:
            self.task.cancel()
