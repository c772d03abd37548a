"""A connection is ended when its client stalls. The server of these tests waits for one second.

It checks its connections once a second, so a deadline can be two seconds late. The tests allow for more than that.
"""

import time
from collections.abc import Iterator

import pytest

from log10_server.db.database import Database
from log10_server.settings import Settings
from log10_server.web.server.connections import MIN_BYTES_PER_SECOND
from tests.conftest import Api, Served, serve
from tests.web.server.raw_http import Client, connected, request, wait_until

MAX_WAIT_SECONDS = 10.0
CREATE = "POST /api/v1/completions HTTP/1.1"


@pytest.fixture(scope="module")
def impatient_server(migrated: Database) -> Iterator[Served]:
    """A server that waits for one second."""
    yield from serve(migrated, Settings(idle_timeout=1, head_timeout=1, stall_timeout=1))


@pytest.fixture(scope="module")
def patient_server(migrated: Database) -> Iterator[Served]:
    """A server with a short idle timeout, and long timeouts for heads and bodies."""
    yield from serve(migrated, Settings(idle_timeout=1, head_timeout=600, stall_timeout=600))


def send_slowly(client: Client, piece: bytes, seconds: float = MAX_WAIT_SECONDS) -> None:
    """Send `piece` ten times a second, until the server answers or closes the connection."""
    client.socket.settimeout(0.1)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            client.socket.sendall(piece)
            try:
                if client.socket.recv(1, 2) is not None:  # MSG_PEEK: the test reads it later
                    break
            except TimeoutError:
                continue
    except OSError:
        pass
    else:
        assert time.monotonic() < deadline, "the server does not stop reading"
    client.socket.settimeout(10)


@pytest.mark.parametrize("path", ["", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["new", "used"])
def test_a_silent_connection_is_closed(impatient_server: Served, path: str) -> None:
    with connected(impatient_server.url, timeout=MAX_WAIT_SECONDS) as client:
        if path:
            assert client.send(path.encode()).answer().status == 200
        before = time.monotonic()

        assert client.is_closed()
        assert time.monotonic() - before > 0.9


def test_empty_lines_do_not_keep_a_connection_open(impatient_server: Served) -> None:
    with connected(impatient_server.url) as client:
        send_slowly(client, b"\r\n")

        assert client.is_closed()


@pytest.mark.parametrize("start", [b"G", b"GET /healthz HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b"])
def test_a_head_that_stalls_is_refused(impatient_server: Served, start: bytes) -> None:
    with connected(impatient_server.url, timeout=MAX_WAIT_SECONDS) as client:
        client.send(start).answer().problem(408, "request_timeout")

        assert client.is_closed()


def test_a_head_that_arrives_too_slowly_is_refused(impatient_server: Served) -> None:
    with connected(impatient_server.url) as client:
        client.send(b"GET /healthz HTTP/1.1\r\n")
        send_slowly(client, b"a: b\r\n")

        client.answer().problem(408, "request_timeout")


def test_a_head_that_stalls_behind_a_request_is_refused_after_its_answer(impatient_server: Served) -> None:
    with connected(impatient_server.url, timeout=MAX_WAIT_SECONDS) as client:
        client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /")

        assert client.answer().status == 200
        client.answer().problem(408, "request_timeout")


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("upgrade", [(), ("Connection: Upgrade", "Upgrade: h2c")])
def test_a_body_that_stalls_is_refused_and_leaves_nothing_behind(
    impatient_server: Served, api: Api, framing: str, upgrade: tuple[str, ...]
) -> None:
    head = request(api.organization.token, CREATE, framing, *upgrade)

    with connected(impatient_server.url, timeout=MAX_WAIT_SECONDS) as client:
        client.send(head + b"2\r\n{}\r\n").answer().problem(408, "request_timeout")

        assert client.is_closed()
    assert api.get("/completions").json()["completions"] == []


def test_a_body_that_arrives_too_slowly_is_refused(impatient_server: Served, api: Api) -> None:
    head = request(api.organization.token, CREATE, "Content-Length: 1000000")

    with connected(impatient_server.url) as client:
        client.send(head)
        send_slowly(client, b" ")

        problem = client.answer().problem(408, "request_timeout")

    assert str(MIN_BYTES_PER_SECOND) in problem["detail"]


def test_a_body_that_arrives_slowly_but_fast_enough_is_read(impatient_server: Served, api: Api) -> None:
    body = b'{"tags":["slow"],"request":{"text":"' + b"x" * 50_000 + b'"}}'
    message = request(api.organization.token, CREATE, body=body)

    with connected(impatient_server.url) as client:
        answer = client.send(
            *[message[start : start + 5000] for start in range(0, len(message), 5000)], pause=0.4
        ).answer()

    assert answer.status == 201


def test_the_body_of_a_refused_request_is_not_read_for_ever(impatient_server: Served) -> None:
    with connected(impatient_server.url) as client:
        client.send(request("no token", CREATE, "Content-Length: 100000000000")).answer().problem(401, "unauthorized")
        before = time.monotonic()
        client.send_until_closed(b"x" * 1000, 10**12)

        assert time.monotonic() - before < MAX_WAIT_SECONDS


def test_a_client_that_does_not_read_its_answer_is_disconnected(impatient_server: Served) -> None:
    """The answers are larger than the buffers of the operating system."""
    with connected(impatient_server.url) as client:
        client.socket.setblocking(False)
        message = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        deadline = time.monotonic() + 3 * MAX_WAIT_SECONDS
        is_disconnected = False
        while not is_disconnected and time.monotonic() < deadline:
            try:
                client.socket.send(message * 10)
            except BlockingIOError:
                time.sleep(0.1)
            except OSError:
                is_disconnected = True

    assert is_disconnected, "the server waits for a client that does not read"


def test_a_client_that_reads_slowly_gets_everything(impatient_server: Served) -> None:
    with connected(impatient_server.url) as client:
        client.send(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 30)
        first = client.answer()
        for _ in range(29):
            time.sleep(0.1)
            assert client.answer().body == first.body


def test_the_idle_timeout_does_not_apply_to_requests(patient_server: Served, api: Api) -> None:
    """It applies neither while a request is read, nor while it is served."""
    with connected(patient_server.url) as client:
        head, end, body = request(api.organization.token, CREATE, body=b'{"tags":["late"]}').partition(b"\r\n\r\n")
        client.send(head[:50])
        time.sleep(2.5)
        client.send(head[50:] + end)
        time.sleep(2.5)

        assert client.send(body).answer().status == 201


def test_the_checks_resume_after_there_was_no_connection(impatient_server: Served) -> None:
    with connected(impatient_server.url) as client:
        assert client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").answer().status == 200
    time.sleep(2.5)

    with connected(impatient_server.url, timeout=MAX_WAIT_SECONDS) as client:
        wait_until(client.is_closed)
