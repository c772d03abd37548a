"""Helpers around the transport of a connection.

They pause reading, notice clients that read too slowly, and allow writing to clients that have left.
"""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl

from log10_server.web.server.connections import MIN_BYTES_PER_SECOND


class Flow(FlowControl):
    """Flow control that does not resume reading while a request waits for the answer to an earlier one."""

    def __init__(self, transport: asyncio.Transport, has_waiting_requests: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._has_waiting_requests = has_waiting_requests

    def resume_reading(self) -> None:
        """Resume reading, unless requests that were read already still wait."""
        if self.read_paused and not self._has_waiting_requests():
            super().resume_reading()


class Writer:
    """A transport to which an answer can be written even when its client has just left.

    uvloop closes the transport at once and tells the protocol a moment later. In between, a write raises RuntimeError,
    which would be logged as an error of the endpoint.
    """

    __slots__ = ("_transport", "close", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.close = transport.close
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write to the client. If the client has left, this does nothing."""
        try:
            self._transport.write(data)
        except RuntimeError:
            if not self.is_closing():
                raise


class WriteMonitor:
    """Watches how fast the client reads the answer that is written for it."""

    def __init__(self, transport: asyncio.Transport, flow: FlowControl, stall_seconds: float) -> None:
        self._transport = transport
        self._flow = flow
        self._stall_seconds = stall_seconds
        self._unsent = 0
        self._changed_at = 0.0
        self._deadline: float | None = None

    def is_overdue(self, now: float) -> bool:
        """Return whether the client has read nothing for too long, or reads too slowly.

        This must be called regularly, because each call compares the unsent bytes with those of the previous call.
        """
        unsent = self._transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._changed_at = unsent, now
        if not unsent:
            self._deadline = None
            return False
        if not self._flow.write_paused and not self._transport.is_closing():
            self._deadline = None
        elif self._deadline is None:
            self._deadline = now + self._stall_seconds + unsent / MIN_BYTES_PER_SECOND
        elif now > self._deadline:
            return True
        return now - self._changed_at > self._stall_seconds
