"""A client that sends exactly the bytes that a test passes to it, and reads the answers one at a time."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest


@dataclass
class Answer:
    """An answer: its status, its headers with names in lower case, and its whole body, without chunk framing."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self, status: int, code: str) -> dict[str, Any]:
        """Assert that the answer is a problem with this status and code, and return the problem."""
        assert self.status == status, self
        assert self.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = self.json()
        assert {"type", "title", "status", "detail", "error", "code"} <= problem.keys()
        assert problem["status"] == status
        assert problem["detail"] == problem["error"]
        assert problem["code"] == code, problem
        return problem


class Client:
    """A connection whose calls wait at most `timeout` seconds."""

    def __init__(self, url: str, timeout: float = 20) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=timeout)
        self._read = self.socket.makefile("rb")

    def send(self, *pieces: bytes, pause: float = 0.02) -> "Client":
        """Send each piece in a separate packet."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(pause)
            self.socket.sendall(piece)
        return self

    def send_until_closed(self, piece: bytes, max_bytes: int) -> int:
        """Send `piece` repeatedly until the server closes or `max_bytes` are sent. Returns the bytes sent."""
        sent = 0
        try:
            while sent < max_bytes:
                self.socket.sendall(piece)
                sent += len(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return sent

    def answer(self, method: str = "POST") -> Answer:
        """Read the next answer. The test fails if the server closes the connection before the answer is complete."""
        line = self._read.readline()
        assert line.startswith(b"HTTP/1.1 "), f"no answer, but {line!r}"
        status = int(line.split()[1])
        headers: dict[str, str] = {}
        while (line := self._read.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if status == 100 or method == "HEAD":
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self._read.readline(), 16):
                body += self._read.read(size)
                self._read.readline()
            self._read.readline()
            return Answer(status, headers, body)
        length = int(headers.get("content-length", "0"))
        body = self._read.read(length)
        assert len(body) == length
        return Answer(status, headers, body)

    def is_closed(self) -> bool:
        """Wait for the server to close the connection. Returns whether it did so without sending anything more."""
        try:
            return self._read.read(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def close(self) -> None:
        self._read.close()
        self.socket.close()


@contextmanager
def connected(url: str, timeout: float = 20) -> Iterator[Client]:
    client = Client(url, timeout)
    try:
        yield client
    finally:
        client.close()


def request(token: str, line: str, *headers: str, body: bytes | None = None, chunks: int = 0) -> bytes:
    """A request with a token. A body has a Content-Length, or is sent in that many chunks."""
    lines = [line, "Host: localhost", f"X-Log10-Token: {token}", *headers]
    if body is None:
        return "\r\n".join([*lines, "", ""]).encode()
    if not chunks:
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
    size = -(-len(body) // chunks)
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    return "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode() + framed


def wait_until(holds: Any, seconds: float = 20) -> None:
    """Wait until `holds()` is true. The test fails if that takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail("It did not happen in time.")
        time.sleep(0.02)
