"""The limit on the number of connections and descriptors, and clients that disconnect early."""

import json
import resource
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from log10_server.db.database import Database
from log10_server.settings import Settings
from log10_server.web.server import descriptors
from tests import conftest, running
from tests.conftest import Served
from tests.running import Program
from tests.web.server.raw_http import Client, connected, request, wait_until

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
MAX_CONNECTIONS = 16


@pytest.fixture(scope="module")
def small_server(migrated: Database) -> Iterator[Served]:
    """A server that allows few connections."""
    yield from conftest.serve(migrated, Settings(max_connections=MAX_CONNECTIONS, stall_timeout=600))


@pytest.fixture
def connect() -> Iterator[Callable[[str, bytes], Client]]:
    """A function that opens a connection and sends a message. All connections are closed after the test."""
    with ExitStack() as stack:

        def open_client(url: str, message: bytes) -> Client:
            client = Client(url)
            stack.callback(client.close)
            return client.send(message) if message else client

        yield open_client


Connect = Callable[[str, bytes], Client]


def is_served(client: Client) -> bool:
    return client.send(HEALTH).answer().status == 200


# Too many connections


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"GET /he",
        HEALTH,
        b"POST /api/v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
        b"FOO / HTTP/1.1\r\n\r\n",
    ],
    ids=["silent", "half a head", "idle", "refused before its body", "malformed"],
)
def test_a_new_connection_closes_the_one_that_has_waited_longest(
    small_server: Served, connect: Connect, message: bytes
) -> None:
    waiting = [connect(small_server.url, message) for _ in range(MAX_CONNECTIONS)]
    time.sleep(0.5)

    newer = [connect(small_server.url, b"") for _ in range(3)]

    assert all(is_served(client) for client in newer)
    for client in waiting[:3]:
        client.socket.settimeout(5)
        while client.socket.recv(65_536):
            pass


def test_a_connection_that_was_just_used_is_not_closed(small_server: Served, connect: Connect) -> None:
    used, silent, *_ = [connect(small_server.url, b"") for _ in range(MAX_CONNECTIONS)]
    assert is_served(used)

    newer = connect(small_server.url, b"")

    assert is_served(newer)
    assert is_served(used)
    assert silent.is_closed()


def test_a_new_connection_is_refused_while_all_others_have_a_running_request(
    small_server: Served, connect: Connect, database: Database
) -> None:
    token = conftest.new_organization(database).token
    head = request(token, "POST /api/v1/completions HTTP/1.1", "Content-Length: 2")
    busy = [connect(small_server.url, head) for _ in range(MAX_CONNECTIONS)]
    time.sleep(0.5)

    refused = connect(small_server.url, b"").answer()
    statuses = [client.send(b"{}").answer().status for client in busy]

    refused.problem(503, "overloaded")
    assert refused.headers["retry-after"]
    assert statuses == [201] * MAX_CONNECTIONS
    assert is_served(connect(small_server.url, b""))


def test_a_new_connection_closes_one_whose_client_does_not_read(small_server: Served, connect: Connect) -> None:
    """The answers are larger than the buffers of the operating system."""
    stalled = [
        connect(small_server.url, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        for _ in range(MAX_CONNECTIONS)
    ]

    wait_until(lambda: is_served(connect(small_server.url, b"")))

    assert stalled


# Descriptors


def with_descriptors(program: Program, soft: int, hard: int) -> running.Served:
    """Start the program with these limits on its number of descriptors."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    serve = program.start

    def limited(
        argv: Sequence[str], environment: Mapping[str, str], folder: Path, *, is_forked: bool = False
    ) -> running.Served:
        set_limits = f"ulimit -Sn {soft} && ulimit -Hn {hard}"
        return serve(["bash", "-c", f'{set_limits} && exec "$@"', "bash", *argv], environment, folder)

    program.start = limited
    try:
        return program.serve()
    finally:
        program.start = serve
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits


@pytest.mark.parametrize("message", [b"", b"GET /", HEALTH], ids=["silent", "half a head", "idle"])
def test_400_waiting_connections_on_256_descriptors_do_not_block_new_clients(
    on_sqlite: Program, connect: Connect, message: bytes
) -> None:
    served = with_descriptors(on_sqlite, 256, 256)
    token = served.exported()["LOG10_TOKEN"]

    for _ in range(400):
        connect(served.url, message)

    for _ in range(5):
        with connected(served.url) as client:
            assert is_served(client)
            create = request(token, "POST /api/v1/completions HTTP/1.1", body=b"{}")
            assert client.send(create).answer().status == 201
    assert "ERROR" not in served.output()
    assert "Traceback" not in served.output()


def test_400_connections_at_once_on_256_descriptors_do_not_block_new_clients(on_sqlite: Program) -> None:
    """All of them wait to be accepted at the same time."""
    served = with_descriptors(on_sqlite, 256, 256)

    with ThreadPoolExecutor(50) as pool, ExitStack() as stack:
        for client in pool.map(lambda _: Client(served.url), range(400)):
            stack.callback(client.close)
        with connected(served.url) as client:
            assert is_served(client)

    assert "ERROR" not in served.output()


def test_the_limit_on_descriptors_is_raised_to_the_hard_limit(on_sqlite: Program) -> None:
    served = with_descriptors(on_sqlite, 128, 512)

    assert resource.prlimit(served.process.pid, resource.RLIMIT_NOFILE) == (512, 512)


def test_the_number_of_connections_leaves_descriptors_for_files_and_databases() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    settings = Settings(max_connections=1_000_000 if soft < 1_000_000 else 2**31 - 1)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        max_at_256 = descriptors.max_connections(settings)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        max_at_64 = descriptors.max_connections(settings)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert 128 <= max_at_256 <= 192
    assert max_at_64 == 16
    assert descriptors.max_connections(Settings(max_connections=20)) == 20


# Clients that disconnect early

BODY = json.dumps({"tags": ["flood"], "request": {"text": "x" * 3000}}).encode()


def messages(token: str) -> dict[str, bytes]:
    """Messages that a client may have sent when it disconnects, by name."""
    create = request(token, "POST /api/v1/completions HTTP/1.1", body=BODY)
    batch = request(
        token,
        "POST /api/v1/completions/batch HTTP/1.1",
        "Content-Type: application/x-ndjson",
        body=(BODY + b"\n") * 50,
    )
    listing = request(token, "GET /api/v1/completions?limit=1000 HTTP/1.1")
    export = request(token, "GET /api/v1/export HTTP/1.1")
    return {
        "nothing": b"",
        "half a head": create[:40],
        "half a body": create[:-100],
        "half a chunked body": request(token, "POST /api/v1/completions HTTP/1.1", body=BODY, chunks=3)[:-100],
        "half a batch": batch[:-1000],
        "a create": create,
        "creates": create * 20,
        "a list": listing,
        "lists": listing * 5,
        "an export": export,
        "exports": export * 3,
        "a request to upgrade": request(token, "GET /healthz HTTP/1.1", "Connection: Upgrade", "Upgrade: h2c"),
        "no token": request("none", "POST /api/v1/completions HTTP/1.1", body=BODY)[:-100],
        "no HTTP": b"\x16\x03\x01",
        "public": HEALTH * 20,
    }


def disconnect_early(url: str, message: bytes, pause: float, reads: bool, resets: bool) -> None:
    client = Client(url)
    try:
        client.send(message)
        time.sleep(pause)
        if reads:
            client.socket.recv(1000)
        if resets:  # closing sends RST
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except ConnectionError:
        pass
    finally:
        client.close()


def test_clients_that_disconnect_early_are_not_logged(on_sqlite: Program) -> None:
    """The server logged 1 450 errors here, because writing an answer to a client that has just left raised an exception."""
    served = on_sqlite.serve()
    token = served.exported()["LOG10_TOKEN"]
    with connected(served.url) as client:
        for _ in range(100):
            client.send(request(token, "POST /api/v1/completions HTTP/1.1", body=BODY)).answer()
    before = served.output()

    with ThreadPoolExecutor(8) as pool:
        for message in messages(token).values():
            for pause, reads, resets in [
                (0, False, True),
                (0, False, False),
                (0.01, False, True),
                (0.03, False, False),
            ]:
                list(pool.map(lambda _: disconnect_early(served.url, message, pause, reads, resets), range(16)))  # noqa: B023
        for name in ("creates", "lists", "exports", "public"):
            list(pool.map(lambda _: disconnect_early(served.url, messages(token)[name], 0, True, True), range(16)))  # noqa: B023
    time.sleep(1)

    with connected(served.url) as client:
        assert is_served(client)
    assert served.output().removeprefix(before).splitlines() == []
