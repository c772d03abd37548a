"""A peer for comparison: Arize Phoenix, which keeps traces of LLM calls, in an environment of its own.

It accepts OTLP, so a completion is sent as a span with the same payloads. It answers before it has stored a span, so the
row also says how many spans were stored in the end, and how long that took.
"""

import sqlite3
import struct
import time
from contextlib import closing
from pathlib import Path

from benchmarks import bodies, wrk
from benchmarks.options import CantMeasure
from benchmarks.servers import TOKEN, Server, free_port
from benchmarks.wrk import Load, LoadScript

PHOENIX = "phoenix"
CLIENTS = 32
_PROGRAM = Path(__file__).parents[1] / ".bench-peer-phoenix" / "bin" / "phoenix"
_SETTLES_WITHIN = 120.0


class Peer:
    """A running Phoenix with its SQLite file, which is its default."""

    def __init__(self, folder: Path) -> None:
        """Raises CantMeasure when it is not installed or doesn't start."""
        if not _PROGRAM.exists():
            raise CantMeasure("Phoenix is not installed: make bench PEER=phoenix does that.")
        self._folder = folder / PHOENIX
        self._folder.mkdir()
        port = free_port()
        environment = {
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_WORKING_DIR": str(self._folder),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }
        self.server = Server(PHOENIX, [str(_PROGRAM), "serve"], environment, folder, port)
        span = self._folder / "span.bin"
        self._ids_at = _write_span(span)
        self._span = str(span)

    def load(self, seconds: int) -> Load:
        """A run. Raises CantMeasure when one span was refused."""
        seed = str(time.time_ns() % 2**31)
        load_script = LoadScript("span.lua", ("/v1/traces", self._span, str(self._ids_at), seed))
        return wrk.run(self.server.url, TOKEN, load_script, CLIENTS, seconds)

    def stored(self) -> tuple[int, float]:
        """How many spans there are once no more come, and how many seconds that took."""
        began, last_grew, before = time.monotonic(), time.monotonic(), -1
        while time.monotonic() < min(last_grew + 5, began + _SETTLES_WITHIN):
            if (count := self._count()) != before:
                before, last_grew = count, time.monotonic()
            time.sleep(0.2)
        return before, last_grew - began

    def _count(self) -> int:
        with closing(
            sqlite3.connect(f"file:{self._folder / 'phoenix.db'}?mode=ro", uri=True, timeout=30)
        ) as connection:
            return int(connection.execute("SELECT count(*) FROM spans").fetchone()[0])


def _write_span(file: Path) -> int:
    """An export of one span that holds a completion of 2.5 KB. Gives where its two ids lie: trace (16 bytes), span (8)."""
    request, response = map(bodies.text, bodies.payloads(2500, 1))
    attribute_values = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o",
        "input.value": request,
        "output.value": response,
    }
    now = time.time_ns()
    trace, span = b"T" * 16, b"S" * 8
    attributes = b"".join(
        _field(9, _text(1, key) + _field(2, _text(1, value))) for key, value in attribute_values.items()
    )
    times = struct.pack("<BQBQ", 7 << 3 | 1, now, 8 << 3 | 1, now + 10**9)
    body = _field(1, trace) + _field(2, span) + _text(5, "completion") + bytes([6 << 3, 3]) + times + attributes
    export = _field(1, _field(1, b"") + _field(2, _field(2, body)))
    file.write_bytes(export)
    ids_at = export.index(trace)
    if export.index(span) != ids_at + len(trace) + 2:  # a tag and a length lie between
        raise CantMeasure("The span is not as load/span.lua takes it.")
    return ids_at


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes as protobuf writes it."""
    length, rest = bytearray(), len(content)
    while rest > 127:
        length.append(rest & 127 | 128)
        rest >>= 7
    return bytes([number << 3 | 2, *length, rest]) + content


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())
