"""The head of a request is bounded before it is kept, and needs no token to be refused."""

import time
from collections.abc import Iterator

import psutil
import pytest

from log10_server.db.database import Database
from log10_server.settings import Limits, Settings
from log10_server.web.server.connections import MOST_HEADER_LINES
from tests.conftest import Api, Served, serve
from tests.web.server.raw_http import connected, request

TARGET = 2000
HEADERS = 5000


@pytest.fixture(scope="module")
def narrow(migrated: Database) -> Iterator[Served]:
    """A server that takes short heads."""
    yield from serve(migrated, Settings(limits=Limits(target_bytes=TARGET, header_bytes=HEADERS)))


def target(size: int) -> bytes:
    return b"GET /healthz?" + b"x" * (size - len("/healthz?")) + b" HTTP/1.1\r\n"


def lines(size: int, each: int = 1000) -> bytes:
    """Header lines of so many bytes, counted as the server does: each with a colon, a space and its end."""
    whole, rest = divmod(size, each)
    sizes = [each] * whole + ([rest] if rest else [])
    return b"".join(b"x: " + b"y" * (length - 5) + b"\r\n" for length in sizes)


def pieces_of(message: bytes, size: int) -> list[bytes]:
    return [message[start : start + size] for start in range(0, len(message), size)]


@pytest.mark.parametrize("size", [10_000, 700])
def test_a_head_of_just_the_limits_is_served(narrow: Served, size: int) -> None:
    message = target(TARGET) + lines(HEADERS) + b"\r\n"

    with connected(narrow.url) as client:
        for _ in range(2):
            assert client.send(*pieces_of(message, size)).answer().status == 200


@pytest.mark.parametrize("size", [10_000, 700])
def test_a_target_of_one_byte_more_is_refused(narrow: Served, size: int) -> None:
    message = target(TARGET + 1) + b"Host: x\r\n\r\n"

    with connected(narrow.url) as client:
        problem = client.send(*pieces_of(message, size)).answer().problem(414, "target_too_long")

        assert str(TARGET) in problem["detail"]
        assert client.is_closed()


@pytest.mark.parametrize("size", [10_000, 700])
@pytest.mark.parametrize("each", [50, 1000, HEADERS + 1])
def test_headers_of_one_byte_more_are_refused(narrow: Served, size: int, each: int) -> None:
    message = target(100) + lines(HEADERS + 1 + (each == 50) * 50, each) + b"\r\n"

    with connected(narrow.url) as client:
        problem = client.send(*pieces_of(message, size)).answer().problem(431, "headers_too_large")

        assert str(HEADERS) in problem["detail"]
        assert client.is_closed()


@pytest.mark.parametrize("size", [10_000, 100])
def test_too_many_headers_are_refused(serving: Served, size: int) -> None:
    def message(count: int) -> bytes:
        return target(100) + b"x:y\r\n" * count + b"\r\n"

    with connected(serving.url) as client:
        assert client.send(*pieces_of(message(MOST_HEADER_LINES), size), pause=0).answer().status == 200
        client.send(*pieces_of(message(MOST_HEADER_LINES + 1), size), pause=0).answer().problem(
            431, "headers_too_large"
        )


def test_the_limits_are_of_each_head_on_a_connection(narrow: Served) -> None:
    message = target(1500) + lines(4000) + b"\r\n"

    with connected(narrow.url) as client:
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
def test_an_endless_head_is_refused_soon_and_nothing_of_it_is_kept(
    serving: Served, start: bytes, piece: bytes, status: int, code: str
) -> None:
    """70 MB of target took 3.3 s of quadratic work on the event loop; 520 MB of lines were kept and never refused."""
    before = psutil.Process().memory_info().rss

    with connected(serving.url) as client:
        client.send(start)
        client.send_until_closed(piece, 70_000_000)
        client.answer().problem(status, code)

        assert client.is_closed()
    assert psutil.Process().memory_info().rss - before < 50_000_000


def test_others_are_answered_while_an_endless_head_comes(serving: Served) -> None:
    with connected(serving.url) as flooding, connected(serving.url) as other:
        flooding.send(b"GET /")
        flooding.send_until_closed(b"x" * 65_536, 5_000_000)
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
