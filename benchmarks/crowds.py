"""Starts crowds of clients (`benchmarks/crowd.py`), and says what they were answered."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks import bodies
from benchmarks.options import CantMeasure
from benchmarks.servers import TOKEN

_ENDS_WITHIN = 60.0  # seconds


@dataclass(frozen=True)
class Request:
    """A request. Its text may have the marks of `bodies`."""

    method: str
    path: str
    body: str = ""
    media_type: str = "application/json"


def get(path: str) -> Request:
    return Request("GET", path)


def post(path: str, body: Any, media_type: str = "application/json") -> Request:
    """`body` is text as it is, or a value that is written as JSON."""
    return Request("POST", path, body if isinstance(body, str) else bodies.text(body), media_type)


@dataclass(frozen=True)
class Clients:
    """A group of clients, as `crowd.Group` describes it. With an `interval` each begins a turn every so many seconds."""

    name: str
    clients: int
    requests: Sequence[Request]
    token: str = TOKEN
    interval: float = 0.0
    behavior: str = "call"
    reconnects: bool = False


@dataclass
class Answers:
    """What a group was answered: how often each status came, or the name of an error; latencies in milliseconds."""

    answers: dict[str, int]
    p50: float
    p99: float
    max: float
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def good(self) -> int:
        """How many answers were 2xx."""
        return sum(count for status, count in self.answers.items() if status.startswith("2"))

    @property
    def bad(self) -> int:
        """How many answers were not 2xx, or did not come."""
        return sum(self.answers.values()) - self.good - self.answers.get("waits", 0)

    def __str__(self) -> str:
        return ", ".join(f"{count} x {status}" for status, count in sorted(self.answers.items())) or "nothing"


class Crowd:
    """Groups of clients that run while the context is open; afterwards `results` has what each was answered."""

    def __init__(self, url: str, groups: Sequence[Clients]) -> None:
        self._about = {"url": url, "groups": [asdict(group) for group in groups]}
        self.results: dict[str, Answers] = {}

    def __enter__(self) -> "Crowd":
        self._folder = tempfile.TemporaryDirectory(prefix="log10-crowd-")
        file = Path(self._folder.name) / "crowd.json"
        file.write_text(json.dumps(self._about))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.crowd", str(file)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "started\n":
            raise CantMeasure("The clients could not be started.")
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        try:
            output, _ = self._process.communicate("", timeout=_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise CantMeasure("The clients did not end.") from None
        self._folder.cleanup()
        if kind is None:
            if self._process.returncode != 0:
                raise CantMeasure("The clients ended with an error.")
            self.results = {name: Answers(**result) for name, result in json.loads(output).items()}
