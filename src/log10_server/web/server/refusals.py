"""Refusals that the server sends itself, because the request has not reached the app."""

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from log10_server.errors import HeadersTooLarge, Refusal, TargetTooLong
from log10_server.web.http.problems import problem
from log10_server.web.server.connections import MAX_HEADER_LINES, Bounds
from log10_server.web.server.heads import size_of


def refusal_of_long_head(
    target: bytes, headers: list[tuple[bytes, bytes]], line_bytes: int, bounds: Bounds
) -> Refusal | None:
    """Return the refusal of a head that is too long, or None if it is not.

    `line_bytes` is the size of a header line that has not arrived completely.
    """
    if len(target) > bounds.target_bytes:
        return TargetTooLong(f"The target of the request is longer than {bounds.target_bytes} bytes.")
    if len(headers) > MAX_HEADER_LINES:
        return HeadersTooLarge(f"The request has more than {MAX_HEADER_LINES} header lines.")
    if size_of(headers) + line_bytes > bounds.header_bytes:
        return HeadersTooLarge(f"The headers of the request are larger than {bounds.header_bytes} bytes.")
    return None


def response_bytes(refusal: Refusal, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the whole HTTP/1.1 response for a refusal, after which the connection ends."""
    response = problem(refusal)
    lines = [STATUS_LINE[response.status_code]]
    for name, value in (*default_headers, *response.raw_headers, (b"connection", b"close")):
        lines += [name, b": ", value, b"\r\n"]
    return b"".join([*lines, b"\r\n", bytes(response.body)])
