"""The crowds of clients that `make bench-scale` starts send what they should, and count what they are answered."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks import bodies
from benchmarks.crowds import Clients, Crowd, get, post


class Received(BaseHTTPRequestHandler):
    """Notes the bodies and tokens of all whole requests. `/busy` is answered 503, `/pieces` in two pieces."""

    protocol_version = "HTTP/1.1"
    received: list[tuple[str, str, bytes]] = []  # noqa: RUF012 - one server runs at a time

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:  # the client has hung up
            return
        self.received.append((self.path, self.headers["X-Log10-Token"], body))
        self.send_response(503 if self.path == "/busy" else 200)
        if self.path == "/pieces":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
        else:
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Received.received.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Received) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_answers_are_counted_by_status(url: str) -> None:
    groups = [Clients("good", 2, [get("/pieces"), get("/list")]), Clients("refused", 1, [get("/busy")])]

    with Crowd(url, groups) as crowd:
        time.sleep(0.5)

    good, refused = crowd.results["good"], crowd.results["refused"]
    assert list(good.answers) == ["200"]
    assert (good.bad, good.good > 1) == (0, True)
    assert good.p50 <= good.p99 <= good.max
    assert list(refused.answers) == ["503"]
    assert (refused.good, refused.bad) == (0, refused.answers["503"])
    assert refused.examples == {"503": "{}"}


def test_a_client_sends_new_values_for_its_marks_in_each_turn(url: str) -> None:
    requests = [post("/one", {"id": bodies.OWN_TAG_MARK}), post("/two", {"id": bodies.OWN_TAG_MARK})]

    with Crowd(url, [Clients("group", 1, requests, token=f"token-{bodies.OWN_TAG_MARK}", interval=0.05)]) as crowd:
        time.sleep(0.5)

    assert crowd.results["group"].bad == 0
    sent = [(path, token.removeprefix("token-"), json.loads(body)["id"]) for path, token, body in Received.received]
    turns = list(zip(sent[::2], sent[1::2], strict=False))
    assert len(turns) > 1
    assert all(first[0] == "/one" and second[0] == "/two" and first[1:] == second[1:] for first, second in turns)
    assert len({first[2] for first, _ in turns}) == len(turns)


def test_a_client_may_leave_its_body_unfinished(url: str) -> None:
    stalled = Clients("stalled", 2, [post("/one", {"text": "all but the last byte"})], behavior="stall")

    with Crowd(url, [stalled]) as crowd:
        time.sleep(0.5)

    assert Received.received == []
    assert (crowd.results["stalled"].answers, crowd.results["stalled"].bad) == ({"waits": 2}, 0)
