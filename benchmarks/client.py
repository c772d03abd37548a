"""One client with one connection that stays open."""

import http.client
import json
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks.options import CantMeasure
from benchmarks.servers import TOKEN


class Answer(NamedTuple):
    """`seconds` is how long it took from the first byte sent to the last byte read."""

    status: int
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


class Streamed(NamedTuple):
    """How long an answer is, and how long it took until the first byte of its body and until the last one."""

    bytes: int
    first_byte_seconds: float
    seconds: float


_KEPT_OPEN = 30.0  # seconds; the server closes a connection that is idle for 65


class Client:
    """Its calls raise CantMeasure when there is no answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)
        self._used_at = time.monotonic()

    def call(self, method: str, path: str, body: Any = None, *, media_type: str = "application/json") -> Answer:
        """`body` is JSON text or bytes as they are, or a value that is written as JSON."""
        sent = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
        headers = {"X-Log10-Token": TOKEN} | ({} if sent is None else {"Content-Type": media_type})
        self._close_if_idle()
        began = time.perf_counter()
        try:
            self._connection.request(method, path, sent.encode() if isinstance(sent, str) else sent, headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (http.client.HTTPException, OSError) as error:
            raise CantMeasure(f"{method} {path} had no answer: {error!r}") from error
        self._used_at = time.monotonic()
        return Answer(answer.status, content, time.perf_counter() - began)

    def done(self, method: str, path: str, body: Any = None, *, media_type: str = "application/json") -> Answer:
        """As `call`. Raises CantMeasure when the answer is not 2xx."""
        answer = self.call(method, path, body, media_type=media_type)
        if not 200 <= answer.status < 300:
            raise CantMeasure(f"{method} {path} was answered {answer.status}: {answer.body[:500]!r}")
        return answer

    def is_there(self, path: str) -> bool:
        """Whether the server has this path to post to; what it says of an empty body does not matter."""
        return self.call("POST", path, b"").status not in (404, 405)

    def streamed(self, path: str) -> Streamed:
        """Read a long answer. Nothing of it is kept. Raises CantMeasure when it is not 2xx."""
        self._close_if_idle()
        began, read, first = time.perf_counter(), 0, 0.0
        try:
            self._connection.request("GET", path, headers={"X-Log10-Token": TOKEN})
            answer = self._connection.getresponse()
            while piece := answer.read1(1 << 16):
                first = first or time.perf_counter() - began
                read += len(piece)
        except (http.client.HTTPException, OSError) as error:
            raise CantMeasure(f"GET {path} broke off after {read} bytes: {error!r}") from error
        if not 200 <= answer.status < 300:
            raise CantMeasure(f"GET {path} was answered {answer.status}.")
        self._used_at = time.monotonic()
        return Streamed(read, first, time.perf_counter() - began)

    def close(self) -> None:
        self._connection.close()

    def _close_if_idle(self) -> None:
        """The next call then opens a new one."""
        if time.monotonic() > self._used_at + _KEPT_OPEN:
            self._connection.close()
