"""What stands between the protocol and its transport: when reading goes on, and writing to a client that has just left."""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl


class Flow(FlowControl):
    """Reading goes on only when the client has got the answers to what it has sent."""

    def __init__(self, transport: asyncio.Transport, is_behind: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._is_behind = is_behind

    def resume_reading(self) -> None:
        if self.read_paused and not self._is_behind():
            super().resume_reading()


class Writer:
    """A transport to which an answer can be written even when its client has just left.

    uvloop closes the transport at once and tells the protocol a moment later. In between, a write raises RuntimeError,
    which would be logged as a defect of the endpoint.
    """

    __slots__ = ("_transport", "close", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.close = transport.close
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        try:
            self._transport.write(data)
        except RuntimeError:
            if not self.is_closing():
                raise
