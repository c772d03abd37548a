"""The server as an operator runs it: in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest

CHECKOUT = Path(__file__).parents[2]
STARTS_WITHIN = 30.0


@dataclass
class Served:
    """A running `log10-server serve`."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def said(self) -> str:
        return self.log.read_text()

    def wait_until_healthy(self) -> None:
        give_up = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < give_up and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        pytest.fail(f"The server is not healthy (exit code {self.process.poll()}); it said:\n{self.said()}")

    def stopped_by(self, number: signal.Signals) -> int:
        """Send the signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=35)


Serve = Callable[[Sequence[str], Mapping[str, str], Path], Served]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server: its command line, its environment, the folder it starts in. It listens on LOG10_SERVER_PORT."""
    with ExitStack() as stop:

        def start(argv: Sequence[str], environment: Mapping[str, str], folder: Path) -> Served:
            log = folder / f"served-{environment['LOG10_SERVER_PORT']}-{time.monotonic_ns()}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(argv, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
            stop.enter_context(process)
            stop.callback(process.kill)
            return Served(process, f"http://127.0.0.1:{environment['LOG10_SERVER_PORT']}", log)

        yield start


@pytest.fixture
def plain_environment() -> dict[str, str]:
    """An environment in which nothing is set that a server or Python would read, and the programs of this one are found."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    return kept | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])}


@pytest.fixture
def free_port() -> str:
    return a_free_port()


def a_free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def empty_postgres_url(postgres_url: str) -> Iterator[str]:
    """A database with nothing in it."""
    name = f"packaging_{time.monotonic_ns()}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        yield postgres_url.replace("/postgres?", f"/{name}?")
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
