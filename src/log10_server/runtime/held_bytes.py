"""Limits how many bytes of request bodies the process holds in memory.

The writer has a separate limit for the writes in its queue.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from log10_server.errors import Unavailable


class HeldBytes:
    """Counts the bytes that all calls hold, and refuses more than `limit`.

    While no other call holds any, a call may exceed it; the limit on the size of a body still applies.
    """

    def __init__(self, limit: int) -> None:
        self.total = 0
        self._limit = limit

    @contextmanager
    def count_for_a_call(self) -> Iterator[Callable[[int], None]]:
        """A block for one call. It yields a function, which the call must call with the size of each part of its body.

        That function raises Unavailable when other calls hold so much that the limit would be exceeded. At the end of
        the block, all bytes of the call are subtracted.
        """
        held_by_call = 0

        def add(size: int) -> None:
            nonlocal held_by_call
            others_hold_bytes = self.total > held_by_call
            if others_hold_bytes and self.total + size > self._limit:
                raise Unavailable("Too many writes are waiting. Try again in a moment.", code="overloaded")
            held_by_call += size
            self.total += size

        try:
            yield add
        finally:
            self.total -= held_by_call
