"""What a part of `make bench-scale` gets: our server on a database with a history, and where to note its figures."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import Client
from benchmarks.databases import Holder
from benchmarks.figures import Figures, Goal
from benchmarks.options import Options
from benchmarks.servers import Server


@dataclass
class Stage:
    """One size of the history on one database. `is_last` is whether it is the largest size."""

    options: Options
    holder: Holder
    server: Server
    database: str
    size: int
    is_last: bool
    figures: Figures
    folder: Path

    def client(self) -> Client:
        return Client(self.server.url)

    @contextmanager
    def client_closing(self) -> Iterator[Client]:
        """A client whose connection is closed at the end."""
        client = self.client()
        try:
            yield client
        finally:
            client.close()

    def wants(self, part: str, name: str) -> bool:
        """Whether this figure was chosen by ONLY."""
        return self.options.wants(f"{part}: {name}")

    def note(self, part: str, name: str, value: float, unit: str, goal: Goal | None = None, note: str = "") -> None:
        self.figures.note(part, name, self.size, value, unit, goal, note)

    def say(self, what: str) -> None:
        print(f"  … {self.holder.kind}, {self.size}: {what}", flush=True)
