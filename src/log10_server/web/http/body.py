"""Reads the body of a request: checks its length, decompresses it, and checks its media type."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Collection
from typing import Any, cast

from starlette.types import Message, Receive, Scope

from log10_server.errors import Malformed, TooLarge, WrongMediaType
from log10_server.runtime.context import LARGE_BODY
from log10_server.runtime.held_bytes import HeldBody, HeldBytes
from log10_server.strict_json import members

# The compressions from which a dialect chooses those that it accepts.
DECOMPRESSED = frozenset({"gzip", "x-gzip"})
_COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress"})
# A small compressed body may decompress to very many bytes, so it is decompressed in steps of at most this many bytes.
# A step takes about a millisecond. For each part that arrives, the first step runs on the event loop, and the others
# run in a thread.
_DECOMPRESSED_BYTES = 1 << 18
# A gzip body may have any number of members, and an empty member takes only 20 bytes. Each member costs a step, so
# without this limit a body of empty members would keep the server busy for minutes without ever reaching the limit on
# its size.
_MAX_GZIP_MEMBERS = 1000


class RequestBody:
    """The body of one request, which arrives only once.

    `accepted_encodings` are the compressions that its dialect accepts.
    """

    __slots__ = (
        "_accepted_encodings",
        "_content",
        "_encoding",
        "_first",
        "_held",
        "_held_bytes",
        "_length",
        "_receive",
        "media_type",
    )

    def __init__(self, scope: Scope, receive: Receive, accepted_encodings: Collection[str] = ()) -> None:
        self._receive = receive
        self._accepted_encodings = accepted_encodings
        self._content: bytes | None = None
        self._first: Message | None = None  # a message that was received but not used yet
        self._held_bytes: HeldBytes | None = None
        self._held: HeldBody | None = None
        self._length: int | None = None
        self._encoding = ""
        self.media_type: str | None = None
        for name, content in scope["headers"]:
            if name == b"content-length":
                self._length = int(content) if content.isdigit() else None
            elif name == b"content-type":
                self.media_type = content.decode("latin-1")
            elif name == b"content-encoding":
                encoding = content.decode("latin-1").strip().lower()
                self._encoding = encoding if encoding in _COMPRESSIONS else ""

    def count_for(self, organization_id: str, held_bytes: HeldBytes) -> None:
        """Count what arrives from now on as held by the organization, until `release` is called."""
        self._held_bytes = held_bytes
        self._held = HeldBody(organization_id)

    def release(self) -> None:
        """End the counting, because the request was answered."""
        if self._held_bytes is not None and self._held is not None:
            self._held_bytes.release(self._held)

    def check(self, max_bytes: int) -> None:
        """Check the headers before the body is read.

        Raises TooLarge if Content-Length is more than `max_bytes`, and WrongMediaType if the dialect does not accept
        the content encoding.
        """
        if self._encoding and self._encoding not in self._accepted_encodings:
            rule = f"must not be compressed, and its Content-Encoding is {self._encoding!r}"
            if self._accepted_encodings:
                accepted = " or ".join(sorted(self._accepted_encodings))
                rule = f"may be compressed by {accepted} only, and its Content-Encoding is {self._encoding!r}"
            raise WrongMediaType(f"The body {rule}.")
        if self._length is not None and self._length > max_bytes:
            raise too_large(max_bytes)

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body, decompressed. Raises the errors of `parts`. A second call returns the same bytes."""
        if self._content is None:
            # Most bodies arrive in one part and are not compressed. A generator would take longer than reading such a
            # body does.
            self.check(max_bytes)
            message = await self._receive()
            if message["type"] == "http.request" and not message.get("more_body", False) and not self._encoding:
                self._content = message.get("body", b"")
                if len(self._content) > max_bytes:
                    raise too_large(max_bytes)
                self._count(len(self._content))
            else:
                self._first = message
                parts = [part async for part in self.parts(max_bytes)]
                self._content = b"".join(parts)
        elif len(self._content) > max_bytes:  # a credential has read the body already, up to a different limit
            raise too_large(max_bytes)
        return self._content

    async def parts(self, max_bytes: int) -> AsyncIterator[bytes]:
        """Yield the parts of the body as they arrive, decompressed.

        Raises the errors of `check`; TooLarge as soon as more than `max_bytes` bytes were received or decompressed;
        Unavailable if bodies hold too many bytes (`HeldBytes`); and Malformed if the caller disconnects before the end of the body, or if it can't be decompressed.
        """
        self.check(max_bytes)
        if self._content is not None:
            yield await self.read(max_bytes)
            return
        parts = self._received(max_bytes)
        if self._encoding:
            parts = _decompressed(parts, max_bytes)
        async for part in parts:
            self._count(len(part))
            yield part

    def _count(self, size: int) -> None:
        """Count bytes that have arrived. Raises Unavailable if there is no room for them."""
        if self._held_bytes is not None and self._held is not None:
            self._held_bytes.add(self._held, size)

    async def _next(self) -> Message:
        """Wait for the next message, unless the body arrives too slowly while others wait."""
        if self._held_bytes is None or self._held is None:
            return await self._receive()
        message: Any = await self._held_bytes.wait_for_part(self._held, self._receive())
        return cast(Message, message)

    async def _received(self, max_bytes: int) -> AsyncIterator[bytes]:
        size = 0
        more = True
        while more:
            message = self._first or await self._next()
            self._first = None
            if message["type"] == "http.disconnect":
                raise Malformed("The body ended before it was complete.")
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > max_bytes:
                raise too_large(max_bytes)
            more = message.get("more_body", False)
            yield part


async def _decompressed(parts: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    """Decompresses gzip, which may consist of several members, one after the other. Raises Malformed and TooLarge."""
    size = 0
    members = 1
    member = _new_member()
    try:
        async for part in parts:
            remaining = part
            first = True
            while remaining:
                if member.eof:
                    members += 1
                    if members > _MAX_GZIP_MEMBERS:
                        raise Malformed(f"The body has more than {_MAX_GZIP_MEMBERS} gzip members.")
                    member = _new_member()
                if first:
                    content = member.decompress(remaining, _DECOMPRESSED_BYTES)
                else:
                    content = await asyncio.to_thread(member.decompress, remaining, _DECOMPRESSED_BYTES)
                first = False
                remaining = member.unused_data if member.eof else member.unconsumed_tail
                size += len(content)
                if size > max_bytes:
                    raise too_large(max_bytes)
                yield content
    except zlib.error:
        raise Malformed("The body is not valid gzip.") from None
    if not member.eof:
        raise Malformed("The body is not valid gzip: it is incomplete.")


def _new_member() -> Any:
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)


def too_large(max_bytes: int) -> TooLarge:
    """Return the refusal of a body that is larger than `max_bytes` bytes."""
    return TooLarge(f"The body is larger than {max_bytes} bytes.")


async def parse_members(body: bytes, payloads: Collection[str], nesting: int) -> dict[str, Any]:
    """Parse a JSON object with `strict_json.members`. A large body is parsed in a thread."""
    if len(body) > LARGE_BODY:
        return await asyncio.to_thread(members, body, payloads, nesting)
    return members(body, payloads, nesting)


def require_json(media_type: str | None) -> None:
    """Raises WrongMediaType when the Content-Type is not JSON."""
    if not is_json(media_type):
        raise wrong_media_type(media_type)


def wrong_media_type(media_type: str | None) -> WrongMediaType:
    """Return the refusal of a body whose Content-Type is not JSON."""
    return WrongMediaType(f"The body must be JSON, not {media_type!r}: send Content-Type: application/json.")


def is_json(media_type: str | None) -> bool:
    """Return whether a Content-Type means JSON in UTF-8.

    A request without a Content-Type is treated as JSON too (docs/api.md, "Errors").
    """
    if media_type is None or not media_type.strip() or media_type == "application/json":
        return True
    main, *parameters = (part.strip().lower() for part in media_type.split(";"))
    if main != "application/json" and not (main.startswith("application/") and main.endswith("+json")):
        return False
    charsets = [part[8:].strip('"') for part in parameters if part.startswith("charset=")]
    return all(charset in {"utf-8", "utf8"} for charset in charsets)
