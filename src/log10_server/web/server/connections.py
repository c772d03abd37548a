"""Keeps the open connections of a process, limits their number, and ends those that wait too long for their clients.

A single timer checks all connections once a second. A timer for each request would cost more than everything else in
this module, and it does no harm if a deadline of many seconds is a second late.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from log10_server.settings import Settings

_SECONDS_BETWEEN_CHECKS = 1.0
# If a client sends its body, or reads its answer, more slowly than this, it is disconnected once the stall timeout has
# passed.
MIN_BYTES_PER_SECOND = 1000
# A refused client may go on sending for this time before its connection is closed. If the connection were closed at
# once, the client's system would discard the refusal before the client has read it.
LINGER_SECONDS = 5.0
# Each header line becomes two Python objects, which cost far more than its bytes, so the number of lines is limited
# too.
MAX_HEADER_LINES = 200


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits on the head of a request and on the number of connections, and the time limits for clients.

    `settings.py` explains each of them.
    """

    target_bytes: int
    header_bytes: int
    connections: int
    head_seconds: int
    stall_seconds: int
    idle_seconds: int

    @classmethod
    def of(cls, settings: Settings, connections: int) -> "Bounds":
        """Return the limits from the settings.

        The caller passes the number of connections, because it also depends on the number of descriptors.
        """
        return cls(
            target_bytes=settings.limits.target_bytes,
            header_bytes=settings.limits.header_bytes,
            connections=connections,
            head_seconds=settings.head_timeout,
            stall_seconds=settings.stall_timeout,
            idle_seconds=settings.idle_timeout,
        )


class Connection(Protocol):
    """The methods of a connection that `Connections` calls."""

    def check_deadlines(self, now: float, elapsed: float) -> None:
        """End this connection if its client was already overdue at `now`, the time of the previous check.

        `elapsed` is the number of seconds since that check.
        """

    def is_stalled(self) -> bool:
        """Return whether the client does not read the answer that was written for it."""

    def evict(self) -> None:
        """Close this connection to make room for another one."""

    def reject(self) -> None:
        """Refuse this new connection, because there are too many and none of them can be closed."""


class Connections:
    """The open connections. `now` is the time of the event loop, at most a second ago.

    `waiting` holds the connections that serve no request; the one that began first to wait for its client comes first.
    Connections add and remove themselves directly, because a method call would cost more than the operation itself.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.now = 0.0
        self.waiting: OrderedDict[Connection, None] = OrderedDict()
        self._open: OrderedDict[Connection, None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> float:
        """Add a new connection, which waits for its client from now on. Returns the current time.

        If there are too many connections, the one that has waited longest for its client is closed. If none can be
        closed, the new one is rejected.
        """
        if self._timer is None:
            self.now = loop.time()
            self._timer = loop.call_later(_SECONDS_BETWEEN_CHECKS, self._check_all, loop)
        has_room = len(self._open) < self.bounds.connections or self._make_room()
        self._open[connection] = None
        if has_room:
            self.waiting[connection] = None
        else:
            connection.reject()
        return self.now

    def remove(self, connection: Connection) -> None:
        """Remove a connection that is closed."""
        self._open.pop(connection, None)
        self.waiting.pop(connection, None)

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for its client.

        If none waits, a connection whose client does not read its answer is closed. Returns whether one was closed.
        """
        if self.waiting:
            evicted, _ = self.waiting.popitem(last=False)
        else:
            stalled = next((connection for connection in self._open if connection.is_stalled()), None)
            if stalled is None:
                return False
            evicted = stalled
        evicted.evict()
        return True

    def _check_all(self, loop: asyncio.AbstractEventLoop) -> None:
        # Connections note events with the time of the previous check, because `now` only changes here. Deadlines are
        # compared with that time too, so none ends early, and none ends more than two seconds late.
        previous, self.now = self.now, loop.time()
        for connection in [*self._open]:
            connection.check_deadlines(previous, self.now - previous)
        self._timer = loop.call_later(_SECONDS_BETWEEN_CHECKS, self._check_all, loop) if self._open else None
