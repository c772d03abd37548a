"""A client that stalls is given up, whatever it stalls at. The server of these tests waits for a second.

It looks at its connections each second, so that a deadline can be two seconds late; what is asserted leaves room for more.
"""

import time
from collections.abc import Callable, Iterator

import pytest

from log10_server.db.database import Database
from log10_server.settings import Settings
from log10_server.web.server.connections import SLOWEST_BYTES_PER_SECOND
from tests.conftest import Api, Served, serve
from tests.web.server.raw_http import Client, connected, request, wait_until

LATE = 10.0  # seconds
CREATE = "POST /api/v1/completions HTTP/1.1"


@pytest.fixture(scope="module")
def hurried(migrated: Database) -> Iterator[Served]:
    """A server that waits for a second."""
    yield from serve(migrated, Settings(idle_timeout=1, head_timeout=1, stall_timeout=1))


@pytest.fixture(scope="module")
def patient(migrated: Database) -> Iterator[Served]:
    """A server that waits long for what is not tested with it."""
    yield from serve(migrated, Settings(idle_timeout=1, head_timeout=600, stall_timeout=600))


def trickle(client: Client, piece: Callable[[], bytes], seconds: float = LATE) -> None:
    """Send a little again and again until the server answers or closes."""
    client.socket.settimeout(0.1)
    give_up = time.monotonic() + seconds
    try:
        while time.monotonic() < give_up:
            client.socket.sendall(piece())
            try:
                if client.socket.recv(1, 2) is not None:  # MSG_PEEK: it is read later
                    break
            except TimeoutError:
                continue
    except OSError:
        pass
    else:
        assert time.monotonic() < give_up, "the server goes on reading"
    client.socket.settimeout(10)


@pytest.mark.parametrize("path", ["", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["new", "used"])
def test_a_silent_connection_is_closed(hurried: Served, path: str) -> None:
    with connected(hurried.url, timeout=LATE) as client:
        if path:
            assert client.send(path.encode()).answer().status == 200
        before = time.monotonic()

        assert client.is_closed()
        assert time.monotonic() - before > 0.9


def test_empty_lines_keep_no_connection_open(hurried: Served) -> None:
    with connected(hurried.url) as client:
        trickle(client, lambda: b"\r\n")

        assert client.is_closed()


@pytest.mark.parametrize("start", [b"G", b"GET /healthz HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b"])
def test_a_head_that_stalls_is_refused(hurried: Served, start: bytes) -> None:
    with connected(hurried.url, timeout=LATE) as client:
        client.send(start).answer().problem(408, "request_timeout")

        assert client.is_closed()


def test_a_head_that_trickles_is_refused(hurried: Served) -> None:
    with connected(hurried.url) as client:
        client.send(b"GET /healthz HTTP/1.1\r\n")
        trickle(client, lambda: b"a: b\r\n")

        client.answer().problem(408, "request_timeout")


def test_a_head_that_stalls_behind_a_request_is_refused_after_its_answer(hurried: Served) -> None:
    with connected(hurried.url, timeout=LATE) as client:
        client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /")

        assert client.answer().status == 200
        client.answer().problem(408, "request_timeout")


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("upgrade", [(), ("Connection: Upgrade", "Upgrade: h2c")])
def test_a_body_that_stalls_is_refused_and_leaves_nothing_behind(
    hurried: Served, api: Api, framing: str, upgrade: tuple[str, ...]
) -> None:
    head = request(api.organization.token, CREATE, framing, *upgrade)

    with connected(hurried.url, timeout=LATE) as client:
        client.send(head + b"2\r\n{}\r\n").answer().problem(408, "request_timeout")

        assert client.is_closed()
    assert api.get("/completions").json()["completions"] == []


def test_a_body_that_trickles_is_refused(hurried: Served, api: Api) -> None:
    head = request(api.organization.token, CREATE, "Content-Length: 1000000")

    with connected(hurried.url) as client:
        client.send(head)
        trickle(client, lambda: b" ")

        problem = client.answer().problem(408, "request_timeout")

    assert str(SLOWEST_BYTES_PER_SECOND) in problem["detail"]


def test_a_slow_body_that_goes_on_is_read(hurried: Served, api: Api) -> None:
    body = b'{"tags":["slow"],"request":{"text":"' + b"x" * 50_000 + b'"}}'
    message = request(api.organization.token, CREATE, body=body)

    with connected(hurried.url) as client:
        answer = client.send(*[message[at : at + 5000] for at in range(0, len(message), 5000)], pause=0.4).answer()

    assert answer.status == 201


def test_a_body_that_nobody_wants_is_not_read_for_ever(hurried: Served) -> None:
    with connected(hurried.url) as client:
        client.send(request("no token", CREATE, "Content-Length: 100000000000")).answer().problem(401, "unauthorized")
        before = time.monotonic()
        client.send_until_closed(b"x" * 1000, 10**12)

        assert time.monotonic() - before < LATE


def test_an_answer_that_is_not_read_is_given_up(hurried: Served) -> None:
    """The answers are larger than what the system keeps for a reader that does not read."""
    with connected(hurried.url) as client:
        client.socket.setblocking(False)
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        give_up = time.monotonic() + 3 * LATE
        lost = False
        while not lost and time.monotonic() < give_up:
            try:
                client.socket.send(asked * 10)
            except BlockingIOError:
                time.sleep(0.1)
            except OSError:
                lost = True

    assert lost, "the server waits for a client that does not read"


def test_a_client_that_reads_slowly_gets_everything(hurried: Served) -> None:
    with connected(hurried.url) as client:
        client.send(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 30)
        first = client.answer()
        for _ in range(29):
            time.sleep(0.1)
            assert client.answer().body == first.body


def test_what_takes_long_itself_is_no_stalled_client(patient: Served, api: Api) -> None:
    """The idle timeout is not for requests that are being served, nor for bodies that are on their way."""
    with connected(patient.url) as client:
        head, end, body = request(api.organization.token, CREATE, body=b'{"tags":["late"]}').partition(b"\r\n\r\n")
        client.send(head[:50])
        time.sleep(2.5)
        client.send(head[50:] + end)
        time.sleep(2.5)

        assert client.send(body).answer().status == 201


def test_the_server_stops_looking_when_nobody_is_connected(hurried: Served) -> None:
    with connected(hurried.url) as client:
        assert client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").answer().status == 200
    time.sleep(2.5)

    with connected(hurried.url, timeout=LATE) as client:
        wait_until(client.is_closed)
