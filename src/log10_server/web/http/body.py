"""How the body of a request is read: its length, its content encoding, its media type, its JSON."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Collection
from typing import Any

from starlette.types import Message, Receive, Scope

from log10_server.errors import Malformed, TooLarge, WrongMediaType
from log10_server.runtime.context import LARGE_BODY
from log10_server.strict_json import members

_COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress"})
# A few bytes may decompress to a great many, so they are decompressed in steps of this many bytes. All steps but the
# first of a part that came run in a thread: a step of this size takes about a millisecond.
_DECOMPRESSED_AT_ONCE = 1 << 18
# gzip allows any number of members, and one that holds nothing takes 20 bytes. Each costs a step, so a body of nothing
# but such members would keep the server busy for minutes and never reach the limit of its size.
_MAX_GZIP_MEMBERS = 1000


class RequestBody:
    """The body of one request. It is read once; `accepted_encodings` are the compressions that its dialect takes."""

    __slots__ = ("_accepted_encodings", "_content", "_encoding", "_first", "_length", "_receive", "media_type")

    def __init__(self, scope: Scope, receive: Receive, accepted_encodings: Collection[str] = ()) -> None:
        self._receive = receive
        self._accepted_encodings = accepted_encodings
        self._content: bytes | None = None
        self._first: Message | None = None  # received, and not looked at yet
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

    def check(self, most: int) -> None:
        """Raises TooLarge when more than `most` bytes are announced, WrongMediaType for a compression not taken here."""
        if self._encoding and self._encoding not in self._accepted_encodings:
            rule = f"must not be compressed, and its Content-Encoding is {self._encoding!r}"
            if self._accepted_encodings:
                accepted = " or ".join(sorted(self._accepted_encodings))
                rule = f"may be compressed by {accepted} only, and its Content-Encoding is {self._encoding!r}"
            raise WrongMediaType(f"The body {rule}.")
        if self._length is not None and self._length > most:
            raise too_large(most)

    async def read(self, most: int) -> bytes:
        """The whole body, decompressed. Raises as `parts`; a second call gives the same bytes."""
        if self._content is None:
            # The usual body comes in one part and is not compressed: a generator would cost more than reading it.
            self.check(most)
            message = await self._receive()
            if message["type"] == "http.request" and not message.get("more_body", False) and not self._encoding:
                self._content = message.get("body", b"")
                if len(self._content) > most:
                    raise too_large(most)
            else:
                self._first = message
                parts = [part async for part in self.parts(most)]
                self._content = b"".join(parts)
        return self._content

    async def parts(self, most: int) -> AsyncIterator[bytes]:
        """The body as it comes, decompressed.

        Raises as `check`; TooLarge as soon as more than `most` bytes have come, or have been decompressed; Malformed
        when the caller goes away before the end, and for what can't be decompressed.
        """
        self.check(most)
        if self._content is not None:
            yield self._content
            return
        parts = self._received(most)
        if self._encoding:
            parts = _decompressed(parts, most)
        async for part in parts:
            yield part

    async def _received(self, most: int) -> AsyncIterator[bytes]:
        size = 0
        more = True
        while more:
            message = self._first or await self._receive()
            self._first = None
            if message["type"] == "http.disconnect":
                raise Malformed("The body ended before it was complete.")
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > most:
                raise too_large(most)
            more = message.get("more_body", False)
            yield part


async def _decompressed(parts: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    """The content of gzip. It may consist of several members, one after the other."""
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
                    content = member.decompress(remaining, _DECOMPRESSED_AT_ONCE)
                else:
                    content = await asyncio.to_thread(member.decompress, remaining, _DECOMPRESSED_AT_ONCE)
                first = False
                remaining = member.unused_data if member.eof else member.unconsumed_tail
                size += len(content)
                if size > most:
                    raise too_large(most)
                yield content
    except zlib.error:
        raise Malformed("The body is not valid gzip.") from None
    if not member.eof:
        raise Malformed("The body is not valid gzip: it ends too early.")


def _new_member() -> Any:
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)


def too_large(most: int) -> TooLarge:
    """The refusal of a body that is larger than `most` bytes."""
    return TooLarge(f"The body is larger than {most} bytes.")


async def parse_members(body: bytes, payloads: Collection[str], nesting: int) -> dict[str, Any]:
    """As `strict_json.members`; the members of a large body are read in a thread."""
    if len(body) > LARGE_BODY:
        return await asyncio.to_thread(members, body, payloads, nesting)
    return members(body, payloads, nesting)


def require_json(media_type: str | None) -> None:
    """Raises WrongMediaType for a body that says it is something other than JSON."""
    if not is_json(media_type):
        raise wrong_media_type(media_type)


def wrong_media_type(media_type: str | None) -> WrongMediaType:
    """The refusal of a body that is not JSON by its Content-Type."""
    return WrongMediaType(f"The body must be JSON, not {media_type!r}: send Content-Type: application/json.")


def is_json(media_type: str | None) -> bool:
    """Whether a Content-Type means JSON in UTF-8. No Content-Type at all does (docs/api.md, "Errors")."""
    if media_type is None or not media_type.strip() or media_type == "application/json":
        return True
    main, *parameters = (part.strip().lower() for part in media_type.split(";"))
    if main != "application/json" and not (main.startswith("application/") and main.endswith("+json")):
        return False
    charsets = [part[8:].strip('"') for part in parameters if part.startswith("charset=")]
    return all(charset in {"utf-8", "utf8"} for charset in charsets)
