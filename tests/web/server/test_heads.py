"""The limits on the head of a request. They apply before the head is kept in memory, and before authentication."""

import time
from collections.abc import Iterator

import psutil
import pytest

from log10_server.db.database import Database
from log10_server.settings import Limits, Settings
from log10_server.web.server.connections import MAX_HEADER_LINES
from tests.conftest import Api, Served, serve
from tests.web.server.raw_http import connected, request

TARGET_BYTES = 2000
HEADER_BYTES = 5000


@pytest.fixture(scope="module")
def strict_server(migrated: Database) -> Iterator[Served]:
    """A server that accepts only short heads."""
    yield from serve(migrated, Settings(limits=Limits(target_bytes=TARGET_BYTES, header_bytes=HEADER_BYTES)))


def target(size: int) -> bytes:
    return b"GET /healthz?" + b"x" * (size - len("/healthz?")) + b" HTTP/1.1\r\n"


def lines(size: int, line_size: int = 1000) -> bytes:
    """Header lines of `size` bytes in all, including colons, spaces and line ends."""
    count, rest = divmod(size, line_size)
    sizes = [line_size] * count + ([rest] if rest else [])
    return b"".join(b"x: " + b"y" * (length - 5) + b"\r\n" for length in sizes)


def pieces_of(message: bytes, size: int) -> list[bytes]:
    return [message[start : start + size] for start in range(0, len(message), size)]


@pytest.mark.parametrize("size", [10_000, 700])
def test_a_head_at_the_limits_is_served(strict_server: Served, size: int) -> None:
    message = target(TARGET_BYTES) + lines(HEADER_BYTES) + b"\r\n"

    with connected(strict_server.url) as client:
        for _ in range(2):
            assert client.send(*pieces_of(message, size)).answer().status == 200


@pytest.mark.parametrize("size", [10_000, 700])
def test_a_target_one_byte_above_the_limit_is_refused(strict_server: Served, size: int) -> None:
    message = target(TARGET_BYTES + 1) + b"Host: x\r\n\r\n"

    with connected(strict_server.url) as client:
        problem = client.send(*pieces_of(message, size)).answer().problem(414, "target_too_long")

        assert str(TARGET_BYTES) in problem["detail"]
        assert client.is_closed()


@pytest.mark.parametrize("size", [10_000, 700])
@pytest.mark.parametrize("line_size", [50, 1000, HEADER_BYTES + 1])
def test_headers_one_byte_above_the_limit_are_refused(strict_server: Served, size: int, line_size: int) -> None:
    message = target(100) + lines(HEADER_BYTES + 1 + (line_size == 50) * 50, line_size) + b"\r\n"

    with connected(strict_server.url) as client:
        problem = client.send(*pieces_of(message, size)).answer().problem(431, "headers_too_large")

        assert str(HEADER_BYTES) in problem["detail"]
        assert client.is_closed()


@pytest.mark.parametrize("size", [10_000, 100])
def test_too_many_headers_are_refused(serving: Served, size: int) -> None:
    def message(count: int) -> bytes:
        return target(100) + b"x:y\r\n" * count + b"\r\n"

    with connected(serving.url) as client:
        assert client.send(*pieces_of(message(MAX_HEADER_LINES), size), pause=0).answer().status == 200
        client.send(*pieces_of(message(MAX_HEADER_LINES + 1), size), pause=0).answer().problem(431, "headers_too_large")


def test_the_limits_apply_to_each_head_on_a_connection(strict_server: Served) -> None:
    message = target(1500) + lines(4000) + b"\r\n"

    with connected(strict_server.url) as client:
        client.send(message * 20)
        assert [client.answer().status for _ in range(20)] == [200] * 20


@pytest.mark.parametrize(
    ("start", "piece", "status", "code"),
    [
        (b"GET /", b"x" * 65_536, 414, "target_too_long"),
        (b"GET /healthz HTTP/1.1\r\nx: ", b"y" * 65_536, 431, "headers_too_large"),
        (b"GET /healthz HTTP/1.1\r\n", b"y" * 65_536, 431, "headers_too_large"),
        (b"GET /healthz HTTP/1.1\r\n", b"name: value\r\n" * 5000, 431, "headers_too_large"),
    ],
    ids=["target", "value", "name", "lines"],
)
def test_an_endless_head_is_refused_soon_and_not_kept_in_memory(
    serving: Served, start: bytes, piece: bytes, status: int, code: str
) -> None:
    """Without the limits, 70 MB of target block the event loop for 3.3 s, and 520 MB of header lines are kept in memory."""
    before = psutil.Process().memory_info().rss

    with connected(serving.url) as client:
        client.send(start)
        client.send_until_closed(piece, 70_000_000)
        client.answer().problem(status, code)

        assert client.is_closed()
    assert psutil.Process().memory_info().rss - before < 50_000_000


def test_other_clients_are_answered_while_an_endless_head_arrives(serving: Served) -> None:
    with connected(serving.url) as endless, connected(serving.url) as other:
        endless.send(b"GET /")
        endless.send_until_closed(b"x" * 65_536, 5_000_000)
        before = time.monotonic()

        assert other.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").answer().status == 200
        assert time.monotonic() - before < 5


@pytest.mark.parametrize(
    ("piece", "status", "code"),
    [
        (b"x: y\r\n" * 10_000, 431, "headers_too_large"),
        (b"x" * 60_000, 431, "headers_too_large"),
    ],
    ids=["lines", "one line"],
)
def test_endless_trailers_are_refused(serving: Served, api: Api, piece: bytes, status: int, code: str) -> None:
    head = request(api.organization.token, "POST /api/v1/completions HTTP/1.1", "Transfer-Encoding: chunked")

    with connected(serving.url) as client:
        client.send(head + b"2\r\n{}\r\n0\r\n")
        client.send_until_closed(piece, 20_000_000)
        client.answer().problem(status, code)

    assert api.get("/completions").json()["completions"] == []


def test_an_endless_chunk_extension_is_refused(serving: Served, api: Api) -> None:
    head = request(api.organization.token, "POST /api/v1/completions HTTP/1.1", "Transfer-Encoding: chunked")

    with connected(serving.url) as client:
        client.send(head + b"2;x=")
        client.send_until_closed(b"y" * 60_000, 20_000_000)
        client.answer().problem(431, "headers_too_large")


def test_chunks_that_are_nearly_all_extension_are_refused(serving: Served, api: Api) -> None:
    head = request(api.organization.token, "POST /api/v1/completions HTTP/1.1", "Transfer-Encoding: chunked")

    with connected(serving.url) as client:
        client.send(head)
        client.send_until_closed((b"1;" + b"x" * 1000 + b"\r\n \r\n") * 50, 20_000_000)
        client.answer().problem(400, "malformed_http")


def test_many_chunks_of_one_byte_are_a_body(serving: Served, api: Api) -> None:
    body = b'{"tags":["' + b"a" * 8000 + b'"]}'
    message = request(api.organization.token, "POST /api/v1/completions HTTP/1.1", body=body, chunks=len(body))

    with connected(serving.url) as client:
        for _ in range(2):
            assert client.send(message).answer().status == 201
