"""Responses that are read and sent in pieces, so that a long answer never is in memory as a whole."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Send

from log10_server.errors import NotFound
from log10_server.web.http.encoding import body_of, items_of


class Stream(StreamingResponse):
    """A response, made of an asynchronous generator, that requests the next piece only when the client has received the piece before.

    If reading fails later than for the first piece, the connection is closed before the end of the response, so that
    the client notices that the response is incomplete.
    """

    async def stream_response(self, send: Send) -> None:
        """Send the head, the pieces and the end."""
        generator: Any = self.body_iterator
        async with aclosing(generator) as pieces:
            piece = await anext(pieces, None)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while piece is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                del piece  # now only the connection holds it
                await wait_until_received(send)
                piece = await anext(pieces, None)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def wait_until_received(send: Send) -> None:
    """Wait until the client has received all but a few KB of what was sent.

    The server waits for that before it writes the next part of a body. Here the next part is empty.
    """
    await send({"type": "http.response.body", "body": b"", "more_body": True})


async def require_pieces(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the same pieces. Raises NotFound if there are none, before the head of the response is sent.

    A row whose size was read first may be deleted before its content is read. Without the refusal, the answer would be
    a success with an empty body.
    """
    async with aclosing(pieces):
        piece = [await anext(pieces, b"")]
        if not piece[0]:
            raise NotFound("This was deleted while it was being read.")
        while piece[0]:
            yield piece.pop()  # no reference is kept, so the bytes are freed when they are sent
            piece.append(await anext(pieces, b""))


async def json_list(answer: Any, member: str, pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the JSON of an answer, whose list `member` is continued by `pieces`: further items, joined by commas."""
    items = items_of(getattr(answer, member))
    empty = body_of(msgspec.structs.replace(answer, **{member: []}))
    # No string of the answer can contain this text, because quotes inside a string are escaped.
    head, start, tail = empty.partition(b'"%s":[' % member.encode())
    async with aclosing(pieces):
        further = [await anext(pieces, b"")]  # read first, so that the whole answer is refused if that fails
        yield b"".join([head, start, *items])
        is_first = not items
        while further[0]:
            if not is_first:
                yield b","
            is_first = False
            yield further.pop()
            further.append(await anext(pieces, b""))
    yield tail
