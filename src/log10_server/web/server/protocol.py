"""Handles one HTTP/1.1 connection, with uvicorn's httptools protocol made safe against slow and hostile clients.

It differs from uvicorn's own class in these points:

- A request to upgrade (`Upgrade: h2c`, `websocket` or any other) is served as HTTP/1.1 with its whole body. httptools
  stops parsing after the head of such a request, and uvicorn then drops the body.
- The sizes of heads, trailers and chunk extensions are limited, and are checked before more bytes are kept in memory.
- Connections of clients that stall are ended (`check_deadlines`). If there are too many connections, the one that has
  waited longest is closed (`evict`).
- Data that is not HTTP is refused with a problem body like every other call. The earlier requests of the connection
  are answered first.
- Pipelined requests are not parsed until earlier ones are answered, so a client that does not read its answers cannot
  queue any number of requests.

The class overrides private methods of uvicorn, so `pyproject.toml` restricts uvicorn's version. The tests of this
module check what a newer version must still do.
"""

import asyncio
from enum import Enum
from typing import Any
from urllib.parse import unquote

import httptools
from httptools.parser.errors import HttpParserError, HttpParserUpgrade
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from log10_server.errors import (
    HeadersTooLarge,
    MalformedHttp,
    NotOffered,
    Refusal,
    TimedOut,
    Unavailable,
)
from log10_server.web.server.connections import LINGER_SECONDS, MAX_HEADER_LINES, MIN_BYTES_PER_SECOND, Connections
from log10_server.web.server.heads import size_of, with_path
from log10_server.web.server.refusals import refusal_of_long_head, response_bytes
from log10_server.web.server.transport import Flow, WriteMonitor, Writer

# Received data is parsed in slices of this many bytes, except for a body whose length is known. So however much a client
# sends at once, at most one slice of a head is kept beyond its limit, and at most one slice of pipelined requests is
# parsed before the first of them is answered.
_SLICE = 16_384
# A chunked body may have this many bytes of chunk sizes, extensions and line ends for each byte of content. A chunk of
# one byte needs five.
_MAX_FRAMING_PER_BODY_BYTE = 16
_VERSIONS = frozenset({"1.0", "1.1"})


class Reading(Enum):
    """The part of a message to which the next byte from the client belongs."""

    NOTHING = "no message yet"
    HEAD = "a head"
    BODY = "a body"
    CLOSED = "nothing that is still parsed"


NOTHING, HEAD, BODY, CLOSED = Reading  # each request reads them several times, and `Reading.HEAD` is ten times slower


class HttpProtocol(HttpToolsProtocol):
    """Reads the requests of one connection and runs the app for each of them.

    If the client takes too long, the connection is ended.
    """

    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._open_connections = connections
        self._waiting = connections.waiting
        self._bounds = connections.bounds
        self._counts_every_head = self._bounds.header_bytes < _SLICE
        self.url = b""
        self._reading: Reading = NOTHING
        self._running: RequestResponseCycle | None = None
        self._unparsed = b""
        # The state of the message that is being read:
        self._began_at = 0.0  # when its head began; later, when its body began
        self._line_bytes = 0  # of an incomplete header line; 0 while the whole head is in one slice
        self._body_bytes = 0
        self._framing_bytes = 0  # includes body bytes; -1 until the slice with the end of the head is parsed
        self._bytes_without_body = 0  # received since the last slice with body bytes; -1 during such a slice
        # The state of the connection:
        self._received_at = 0.0
        self._idle_since = 0.0
        self._linger_deadline = 0.0
        self._pending_refusal: Refusal | None = None
        self._write_monitor: WriteMonitor

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Register the connection.

        If there are too many connections, this closes another one, or refuses this one.
        """
        super().connection_made(transport)
        self.flow = Flow(transport, self.has_waiting_requests)
        self._writer: Any = Writer(transport)
        self._write_monitor = WriteMonitor(transport, self.flow, self._bounds.stall_seconds)
        self._idle_since = self._open_connections.add(self, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection, and tell every endpoint that still runs for it that the client has left."""
        self._open_connections.remove(self)
        self._reading = CLOSED
        self._unparsed = b""
        self.pipeline.clear()
        if self._running is not None:
            call: Any = self._running.scope.get("log10")
            if call is not None:
                call.note_disconnect()
            if self._running is not self.cycle:  # uvicorn tells only the newest request
                self._disconnect(self._running)
        super().connection_lost(exc)

    def _end(self) -> None:
        """Close the connection now, even if the client has not read everything that was written."""
        self._reading = CLOSED
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    # Parsing

    def data_received(self, data: bytes) -> None:
        """Parse the received data, unless earlier requests of the connection still wait."""
        self._received_at = self._open_connections.now
        if self._reading is CLOSED:
            return
        if len(data) <= _SLICE and not self.pipeline and not self._unparsed:
            self._parse(data)
        else:
            self._unparsed += data
            self._parse_unparsed()

    def has_waiting_requests(self) -> bool:
        """Return whether requests of this connection wait until an earlier one is answered."""
        return bool(self.pipeline or self._unparsed)

    def _parse_unparsed(self) -> None:
        """Parse the data that is not parsed yet, until a request must wait for the answer to an earlier one."""
        data = memoryview(self._unparsed)
        position = 0
        while position < len(data) and not self.pipeline and self._reading is not CLOSED:
            size = max(_SLICE, self._remaining_body_bytes()) if self._reading is BODY else _SLICE
            self._parse(data[position : position + size])
            position += size
        self._unparsed = bytes(data[position:]) if self._reading is not CLOSED else b""
        if self._unparsed:
            self.flow.pause_reading()

    def _remaining_body_bytes(self) -> int:
        """Return how many bytes of the body are still to be parsed, or 0 if its length is unknown.

        These bytes hold neither a head nor another request, so they need not be parsed in slices.
        """
        lengths = (int(content) for name, content in self.scope["headers"] if name == b"content-length")
        return max(0, next(lengths, 0) - self._body_bytes)

    def _parse(self, data: bytes | memoryview) -> None:
        before = (len(self.url), len(self.headers)) if self._reading is HEAD else None
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._parse_without_upgrade(data[upgrade.args[0] :])
            return
        except HttpParserError as error:
            cause = error.__context__
            self._refuse(
                cause if isinstance(cause, Refusal) else MalformedHttp(f"This is not valid HTTP/1.1: {error}.")
            )
            return
        if self._reading is HEAD:
            is_same_line = self._line_bytes and before == (len(self.url), len(self.headers))
            self._line_bytes = self._line_bytes + len(data) if is_same_line else 1
            if (refusal := self._too_long()) is not None:  # checked before more of the head is kept
                self._refuse(refusal)
        elif self._reading is BODY:
            self._check_framing(len(data))

    def _parse_without_upgrade(self, rest: bytes | memoryview) -> None:
        """Parse the head again without its header `Upgrade`, and then the rest of the data.

        A server may ignore a request to upgrade (RFC 9110, section 7.8). The headers of the head still say where the
        body ends.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        head = [method, b" ", self.url, b" HTTP/", version.encode(), b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._parse(b"".join([*head, b"\r\n"]))
        if rest and self._reading is not CLOSED:
            self._parse(rest)

    def on_message_begin(self) -> None:
        """Note when the head of a request begins, for its deadline."""
        super().on_message_begin()
        self._reading = HEAD
        self._line_bytes = 0
        self._began_at = self._open_connections.now

    def on_headers_complete(self) -> None:
        """Start serving the request.

        This does the same as uvicorn's method, except that it refuses some requests and serves requests to upgrade.
        """
        url, parser = self.url, self.parser
        is_long = len(url) > self._bounds.target_bytes or len(self.headers) > MAX_HEADER_LINES
        if is_long or self._line_bytes or self._counts_every_head:
            self._line_bytes = 0
            if (refusal := self._too_long()) is not None:
                raise refusal
        method = parser.get_method()
        if parser.should_upgrade():
            if method == b"CONNECT":
                raise NotOffered("This server is not a proxy and does not support the method CONNECT.")
            return  # the parser stops here, and `_parse_without_upgrade` continues
        version = parser.get_http_version()
        if version not in _VERSIONS:
            raise MalformedHttp(f"This server speaks HTTP/1.1 and HTTP/1.0, not HTTP/{version}.")
        try:
            target = httptools.parse_url(url if url[:1] == b"/" else with_path(url))
            path = target.path.decode("ascii")
        except (httptools.HttpParserInvalidURLError, UnicodeError):
            raise MalformedHttp(
                "The target of the request is not a URL. Characters beyond ASCII are sent as %XX."
            ) from None
        scope = self.scope
        scope["http_version"] = version
        scope["method"] = method.decode("ascii")
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + target.path
        scope["query_string"] = target.query or b""
        earlier, self.cycle = (
            self.cycle,
            RequestResponseCycle(
                scope=scope,
                transport=self._writer,
                flow=self.flow,
                logger=self.logger,
                access_logger=self.access_logger,
                access_log=self.access_log,
                default_headers=self.server_state.default_headers,
                message_event=asyncio.Event(),
                expect_100_continue=self.expect_100_continue,
                keep_alive=version != "1.0" and parser.should_keep_alive(),
                on_response=self.on_response_complete,
            ),
        )
        self._reading = BODY
        self._began_at = self._open_connections.now
        self._body_bytes, self._framing_bytes, self._bytes_without_body = 0, -1, -1
        self.headers = []  # trailers come here, and must not become headers (RFC 9110, section 6.5.1)
        if earlier is None or earlier.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body to the endpoint.

        If the endpoint reads too slowly, reading from the client is paused.
        """
        self._body_bytes += len(body)
        self._bytes_without_body = -1
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Tell the endpoint that the body is complete."""
        if self._reading is not BODY:  # only the head of a request to upgrade
            return
        self._reading = NOTHING
        if self.cycle.response_complete:
            self._idle_since = self._open_connections.now
        else:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def _too_long(self) -> Refusal | None:
        return refusal_of_long_head(self.url, self.headers, self._line_bytes, self._bounds)

    def _check_framing(self, size: int) -> None:
        """Refuse trailers, chunk sizes and chunk extensions that are too long.

        They are not part of the body, so the limit on the size of the body does not count them.
        """
        bound = self._bounds.header_bytes
        self._framing_bytes = 0 if self._framing_bytes < 0 else self._framing_bytes + size
        self._bytes_without_body = 0 if self._bytes_without_body < 0 else self._bytes_without_body + size
        if len(self.headers) > MAX_HEADER_LINES or size_of(self.headers) + self._bytes_without_body > bound:
            self._refuse(HeadersTooLarge("The trailers of the request, or the extensions of a chunk, are too large."))
        elif self._framing_bytes > bound + _MAX_FRAMING_PER_BODY_BYTE * self._body_bytes:
            self._refuse(MalformedHttp("The chunks of the body have too much framing for their content."))

    # Answering

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        self._waiting.pop(self, None)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Continue with the next request of the connection after an answer was written."""
        self.server_state.total_requests += 1
        self._running = None
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._pending_refusal is not None:
            self._answer(self._pending_refusal)
            return
        else:
            self._waiting[self] = None
            self._idle_since = self._open_connections.now
        if self._unparsed:
            self._parse_unparsed()
        self.flow.resume_reading()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer data that can't be served, after the answers to earlier requests, and then end the connection.

        The connection can't be used any longer, because it is unknown where the next request begins.
        """
        was_reading, self._reading = self._reading, CLOSED
        self._unparsed = b""
        if was_reading is BODY:
            cycle = self.cycle
            if cycle.response_complete:
                self._end()
                return
            self._disconnect(cycle)
            if cycle.response_started:
                self._end()
                return
            if cycle is self._running:
                self._running = None
            else:
                self.pipeline.remove(next(entry for entry in self.pipeline if entry[0] is cycle))
        if self._running is not None:
            self._pending_refusal = refusal
            FlowControl.resume_reading(self.flow)  # data is discarded, but a disconnect must be noticed
        else:
            self._answer(refusal)

    def _answer(self, refusal: Refusal) -> None:
        """Write a refusal without an endpoint.

        The connection stays open for a moment, so that the client can read the refusal. Data that it still sends is
        discarded.
        """
        self._reading = CLOSED
        if self.transport.is_closing():
            return
        self._write(refusal)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        FlowControl.resume_reading(self.flow)
        self._waiting[self] = None
        self._linger_deadline = self._open_connections.now + LINGER_SECONDS

    def _write(self, refusal: Refusal) -> None:
        self.transport.write(response_bytes(refusal, self.server_state.default_headers))

    def _disconnect(self, cycle: RequestResponseCycle) -> None:
        """Tell the endpoint that the client no longer waits for its answer."""
        if not cycle.response_complete:
            cycle.disconnected = True
        cycle.message_event.set()

    # Deadlines

    def check_deadlines(self, now: float, elapsed: float) -> None:
        """End the connection if its client has taken too long to send, or to read its answer."""
        if self._write_monitor.is_overdue(now):
            self.transport.abort()
        elif self.transport.is_closing():
            return
        elif self._linger_deadline:
            if now > self._linger_deadline:
                self._end()
        elif self.flow.read_paused:  # reading is paused, so the client cannot send
            self._received_at = self._open_connections.now
            self._began_at += elapsed
        elif self._reading is HEAD:
            if now - self._began_at > self._bounds.head_seconds:
                self._refuse(TimedOut(f"The head of the request took more than {self._bounds.head_seconds} seconds."))
        elif self._reading is BODY:
            self._check_body(now)
        elif self._running is None and now - self._idle_since > self._bounds.idle_seconds:
            self._end()

    def _check_body(self, now: float) -> None:
        stall = self._bounds.stall_seconds
        if self.cycle.response_complete:  # answered before its body was read, so the rest of the body is discarded
            if now - self._idle_since > stall:
                self._end()
        elif now - self._received_at > stall:
            self._refuse(TimedOut(f"No more of the body has arrived for {stall} seconds."))
        elif now - self._began_at > stall + self._body_bytes / MIN_BYTES_PER_SECOND:
            self._refuse(TimedOut(f"The body arrives at less than {MIN_BYTES_PER_SECOND} bytes a second."))

    def is_stalled(self) -> bool:
        """Return whether the client does not read its answer."""
        return self.flow.write_paused

    def evict(self) -> None:
        """Close this connection to make room for another one."""
        self._end()

    def reject(self) -> None:
        """Refuse this connection, because there are too many connections."""
        self._reading = CLOSED
        self._write(Unavailable("The server has too many connections. Try again in a moment.", code="overloaded"))
        self.transport.close()
