"""All open connections of a process: how many there may be, and when one has waited for its client long enough.

One timer looks at all of them each second. A timer for each request would cost more than the rest of what is done here,
and a deadline of many seconds can be a second late.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from log10_server.settings import Settings

_SECONDS_BETWEEN_LOOKS = 1.0
# A body that is sent, or an answer that is read, more slowly than this is given up once the stall timeout has passed.
SLOWEST_BYTES_PER_SECOND = 1000
# How long a refused client may go on sending before its connection is closed. Closing it at once would make its system
# throw away the refusal that it has not read yet.
LINGER_SECONDS = 5.0
# Each line becomes two Python objects, which cost far more than its bytes.
MOST_HEADER_LINES = 200


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a head is read, and how long and how often this server waits for clients; see `settings.py`."""

    target_bytes: int
    header_bytes: int
    connections: int
    head_seconds: int
    stall_seconds: int
    idle_seconds: int

    @classmethod
    def of(cls, settings: Settings, connections: int) -> "Bounds":
        """The bounds that an operator has set, with as many connections as there are descriptors for."""
        return cls(
            target_bytes=settings.limits.target_bytes,
            header_bytes=settings.limits.header_bytes,
            connections=connections,
            head_seconds=settings.head_timeout,
            stall_seconds=settings.stall_timeout,
            idle_seconds=settings.idle_timeout,
        )


class Connection(Protocol):
    """What is needed of a connection here."""

    def check_deadlines(self, now: float, passed: float) -> None:
        """Close it when its client was overdue at `now`, `passed` seconds ago, when it was checked before."""

    def is_stalled(self) -> bool:
        """Whether an answer waits to be read by its client."""

    def evict(self) -> None:
        """Close it because there are too many."""

    def turn_away(self) -> None:
        """Refuse a new one because there are too many, and none that can be closed."""


class Connections:
    """The open connections. `now` is the event loop's time, a second old at most.

    `waiting` holds those that serve no request, in the order in which they began to wait for their clients. Each
    connection puts itself in and takes itself out, since a method call for it costs more than the rest.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.now = 0.0
        self.waiting: OrderedDict[Connection, None] = OrderedDict()
        self._open: OrderedDict[Connection, None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> float:
        """Take in a new connection, which waits from now on; gives the time.

        Where there are too many, the one that has waited longest is closed. If none waits, the new one is turned away.
        """
        if self._timer is None:
            self.now = loop.time()
            self._timer = loop.call_later(_SECONDS_BETWEEN_LOOKS, self._look, loop)
        has_room = len(self._open) < self.bounds.connections or self._make_room()
        self._open[connection] = None
        if has_room:
            self.waiting[connection] = None
        else:
            connection.turn_away()
        return self.now

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._open.pop(connection, None)
        self.waiting.pop(connection, None)

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for its client, if one waits."""
        if self.waiting:
            longest, _ = self.waiting.popitem(last=False)
        else:
            stalled = next((connection for connection in self._open if connection.is_stalled()), None)
            if stalled is None:
                return False
            longest = stalled
        longest.evict()
        return True

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        # What came since the look before is noted with the time of that look. Measured from there, too, no deadline is
        # early, and none is more than two seconds late.
        before, self.now = self.now, loop.time()
        for connection in [*self._open]:
            connection.check_deadlines(before, self.now - before)
        self._timer = loop.call_later(_SECONDS_BETWEEN_LOOKS, self._look, loop) if self._open else None
