"""How many bytes of request bodies the process holds before they wait for the writer, which bounds those itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from log10_server.errors import Unavailable


class HeldBytes:
    """Counts the bytes that all calls hold, up to `limit`. A call alone may hold more: its body's limit bounds that."""

    def __init__(self, limit: int) -> None:
        self.total = 0
        self._limit = limit

    @contextmanager
    def count_for_a_call(self) -> Iterator[Callable[[int], None]]:
        """Gives a function that the call tells of each number of bytes it adds; all are let go of at the end.

        That function raises Unavailable when other calls hold so much that there is no room for these.
        """
        of_this_call = 0

        def add(size: int) -> None:
            nonlocal of_this_call
            others_hold_some = self.total > of_this_call
            if others_hold_some and self.total + size > self._limit:
                raise Unavailable("Too many writes are waiting. Try again in a moment.", code="overloaded")
            of_this_call += size
            self.total += size

        try:
            yield add
        finally:
            self.total -= of_this_call
