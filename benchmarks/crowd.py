"""Many clients at once, in a process of their own: `python -m benchmarks.crowd FILE` (`benchmarks/crowds.py` starts it).

FILE holds the address and groups of clients as JSON. Each client has a connection and repeats the requests of its group
in turn. The marks of `bodies` in a request are replaced with random digits, which are the same in one turn. The clients
stop when standard input ends; then the program prints what each group was answered.
"""

import asyncio
import json
import math
import random
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.bodies import OWN_TAG_MARK, SESSION_MARK

_ANSWER_WITHIN = 120.0  # seconds
_CONNECTED_WITHIN = 30.0


class Group:
    """Clients that do the same. `behavior` is "call", "leave unread", or "stall" before the last byte of the body."""

    def __init__(self, about: dict[str, Any], host: str) -> None:
        self.name: str = about["name"]
        self.clients: int = about["clients"]
        self.interval: float = about["interval"]
        self.behavior: str = about["behavior"]
        self.reconnects: bool = about["reconnects"]
        self.requests = [_request(host, about["token"], request) for request in about["requests"]]
        self.answers: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.examples: dict[str, str] = {}  # the beginning of an answer for each status that is not 2xx

    def result(self) -> dict[str, Any]:
        seconds = sorted(self.seconds) or [math.nan]
        return {
            "answers": dict(self.answers),
            "examples": self.examples,
            "p50": seconds[len(seconds) // 2] * 1000,
            "p99": seconds[min(len(seconds) - 1, math.ceil(len(seconds) * 0.99) - 1)] * 1000,
            "max": seconds[-1] * 1000,
        }


def _request(host: str, token: str, about: dict[str, Any]) -> bytes:
    body: bytes = about["body"].encode()
    head = [f"{about['method']} {about['path']} HTTP/1.1", f"Host: {host}", f"X-Log10-Token: {token}"]
    if body or about["method"] != "GET":
        head += [f"Content-Type: {about['media_type']}", f"Content-Length: {len(body)}"]
    text = "\r\n".join([*head, "", ""])
    return text.encode() + body


def _filled(request: bytes, digits: str) -> bytes:
    own, session = digits[: len(OWN_TAG_MARK)], digits[-len(SESSION_MARK) :]
    filled = request.replace(OWN_TAG_MARK.encode(), own.encode())
    return filled.replace(SESSION_MARK.encode(), session.encode())


class _LastAnswer(Exception):
    """The answer after which the server closes the connection."""

    def __init__(self, status: int, beginning: bytes) -> None:
        super().__init__()
        self.status, self.beginning = status, beginning


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The status, and the beginning of the body. All of the body is read."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    if "chunked" in headers.get("transfer-encoding", ""):
        beginning = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            beginning = (beginning + await _skip(reader, size))[:500]
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
    else:
        beginning = await _skip(reader, int(headers.get("content-length", 0)))
    if headers.get("connection") == "close":
        raise _LastAnswer(status, beginning)
    return status, beginning


async def _skip(reader: asyncio.StreamReader, size: int) -> bytes:
    """Read that many bytes, and return the first of them."""
    beginning = b""
    while size:
        piece = await reader.read(min(size, 1 << 16))
        if not piece:
            raise asyncio.IncompleteReadError(b"", size)
        beginning = beginning or piece[:500]
        size -= len(piece)
    return beginning


async def _client(group: Group, host: str, port: int, number: int) -> None:
    chosen = random.Random(f"{time.time_ns()} {group.name} {number}")
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    if group.interval:
        await asyncio.sleep(chosen.random() * group.interval)
    while True:
        digits = f"{chosen.getrandbits(128):032x}"
        for template in group.requests:
            began = time.perf_counter()
            try:
                if connection is None:
                    connecting = asyncio.open_connection(host, port, limit=1 << 16)
                    connection = await asyncio.wait_for(connecting, _CONNECTED_WITHIN)
                reader, writer = connection
                request = _filled(template, digits)
                if group.behavior != "call":
                    await _wait_silently(group, writer, request)
                    continue
                writer.write(request)
                status, beginning = await asyncio.wait_for(_read_answer(reader), _ANSWER_WITHIN)
                _count(group, str(status), beginning, began)
            except _LastAnswer as answer:
                _count(group, str(answer.status), answer.beginning, began)
                _close(connection)
                connection = None
            except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
                group.answers[type(error).__name__] += 1
                _close(connection)
                connection = None
                await asyncio.sleep(0.05)
            if group.reconnects:
                _close(connection)
                connection = None
        if group.interval:
            await asyncio.sleep(max(0.0, group.interval - (time.perf_counter() - began)))


async def _wait_silently(group: Group, writer: asyncio.StreamWriter, request: bytes) -> None:
    """Send a request and read nothing, or send all of it but the last byte; until the server hangs up or all ends."""
    writer.write(request if group.behavior == "leave unread" else request[:-1])
    await writer.drain()
    group.answers["waits"] += 1
    while not writer.transport.is_closing():
        await asyncio.sleep(0.1)
    raise ConnectionResetError


def _count(group: Group, status: str, beginning: bytes, began: float) -> None:
    group.answers[status] += 1
    group.seconds.append(time.perf_counter() - began)
    if not status.startswith("2"):
        group.examples.setdefault(status, beginning[:200].decode("utf-8", "replace"))


def _close(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None) -> None:
    """Close the connection at once, also while an answer is arriving."""
    if connection is not None:
        connection[1].transport.abort()


async def _main(about: dict[str, Any]) -> dict[str, Any]:
    address = urlsplit(about["url"])
    host, port = address.hostname or "", address.port or 80
    groups = [Group(group, f"{host}:{port}") for group in about["groups"]]
    tasks = [
        asyncio.create_task(_client(group, host, port, number)) for group in groups for number in range(group.clients)
    ]
    print("started", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    running = set(tasks)
    while running:  # `asyncio.wait_for` of Python 3.11 loses a cancellation that comes together with its result
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=1)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
    return {group.name: group.result() for group in groups}


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    result = asyncio.run(_main(json.loads(Path(sys.argv[1]).read_text())))
    print(json.dumps(result))
