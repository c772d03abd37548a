"""The program as an operator runs it: `log10-server` in processes of its own. Folders import the fixtures they need."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx
import psycopg
import pytest

from tests.forked import ForkedProcess

CHECKOUT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
STARTS_WITHIN = 120.0  # seconds; one is enough, but not on a machine that many share


@dataclass
class Served:
    """A running `log10-server serve`, with all that it prints in `log`."""

    process: subprocess.Popen[bytes] | ForkedProcess
    log: Path
    url: str = ""

    def output(self) -> str:
        """What the server has printed and logged so far."""
        return self.log.read_text()

    def exported(self) -> dict[str, str]:
        """The variables of the three export lines that a first start prints."""
        return dict(re.findall(r"^export (\w+)=(\S+)$", self.output(), re.M))

    def wait_until_healthy(self) -> None:
        give_up = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < give_up and self.process.poll() is None:
            if not self.url and (match := re.match(r"log10-server \S+ on (\S+)", self.output())):
                self.url = match[1]
            try:
                if self.url and httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        pytest.fail(f"The server is not healthy (exit code {self.process.poll()}). Its output:\n{self.output()}")

    def stopped_by(self, number: signal.Signals) -> int:
        """Send the signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=90)


class Serve(Protocol):
    """Starts a server: its command line, its environment, the folder it starts in, and whether it is forked."""

    def __call__(
        self, argv: Sequence[str], environment: Mapping[str, str], folder: Path, *, is_forked: bool = False
    ) -> Served: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server, which is ended with the test.

    It listens on LOG10_SERVER_PORT; where that is 0, its address is read from what it prints.
    """
    with ExitStack() as stop:

        def start(
            argv: Sequence[str], environment: Mapping[str, str], folder: Path, *, is_forked: bool = False
        ) -> Served:
            port = environment["LOG10_SERVER_PORT"]
            log = folder / f"served-{port}-{time.monotonic_ns()}.log"
            log.touch()
            process: subprocess.Popen[bytes] | ForkedProcess
            if is_forked:
                process = ForkedProcess(argv, environment, folder, stdout=log)
            else:
                with log.open("ab") as output:
                    process = subprocess.Popen(
                        argv, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT
                    )
            stop.callback(process.wait)
            stop.callback(process.kill)
            return Served(process, log, "" if port == "0" else f"http://127.0.0.1:{port}")

        yield start


def run_forked(
    argv: Sequence[str], environment: Mapping[str, str], folder: Path, stdin: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a fork, and wait until it has ended."""
    with tempfile.TemporaryDirectory() as streams:
        entered, output, errors = (Path(streams, name) for name in ("stdin", "stdout", "stderr"))
        entered.write_bytes(stdin.encode())
        output.touch()
        errors.touch()
        process = ForkedProcess(argv, environment, folder, stdout=output, stderr=errors, stdin=entered)
        try:
            code = process.wait(STARTS_WITHIN)
        finally:
            process.kill()
        return subprocess.CompletedProcess(argv, code, output.read_text(), errors.read_text())


@dataclass
class Program:
    """`log10-server` in a folder, with an environment of its own.

    It runs in forks of a process that has imported it already; `replace(program, is_forked=False)` starts Python anew.
    """

    folder: Path
    environment: dict[str, str]
    start: Serve = field(repr=False)
    is_forked: bool = True

    @property
    def is_postgres(self) -> bool:
        return self.environment["DATABASE_URL"].startswith("postgresql")

    def run(self, *arguments: str, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        argv = [str(PROGRAMS / "log10-server"), *arguments]
        if self.is_forked:
            return run_forked(argv, self.environment | settings, self.folder, stdin)
        return subprocess.run(
            argv,
            env=self.environment | settings,
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=STARTS_WITHIN,
        )

    def output_of(self, *arguments: str, stdin: str = "", **settings: str) -> str:
        """Run a command that must succeed, and return what it prints."""
        result = self.run(*arguments, stdin=stdin, **settings)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def begin(self, **settings: str) -> Served:
        """Start a server, and don't wait for it."""
        argv = [str(PROGRAMS / "log10-server"), "serve"]
        return self.start(argv, self.environment | settings, self.folder, is_forked=self.is_forked)

    def serve(self, **settings: str) -> Served:
        """Start a server, and wait until it answers."""
        served = self.begin(**settings)
        served.wait_until_healthy()
        return served


@pytest.fixture
def plain_environment() -> dict[str, str]:
    """An environment in which nothing is set that a server or Python would read, and this one's programs are found."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    return kept | {"PATH": os.pathsep.join([str(PROGRAMS), "/usr/local/bin", "/usr/bin", "/bin"])}


@pytest.fixture
def program_on(plain_environment: dict[str, str], serve: Serve, tmp_path: Path) -> Callable[[str], Program]:
    """The program in an empty folder, on the database of a URL. Servers take free ports."""

    def on(database_url: str) -> Program:
        folder = tmp_path / "empty"
        folder.mkdir(exist_ok=True)
        settings = {"DATABASE_URL": database_url, "LOG10_SERVER_PORT": "0"}
        return Program(folder, plain_environment | settings, serve)

    return on


@pytest.fixture
def on_sqlite(program_on: Callable[[str], Program]) -> Program:
    return program_on("sqlite:///log10-server.db")


@pytest.fixture
def on_postgres(program_on: Callable[[str], Program], empty_postgres_url: str) -> Program:
    return program_on(empty_postgres_url)


@pytest.fixture(params=["sqlite", "postgres"])
def program(request: pytest.FixtureRequest) -> Program:
    """The program on a new SQLite file, and on an empty database of Postgres."""
    chosen: Program = request.getfixturevalue(f"on_{request.param}")
    return chosen


def a_free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def free_port() -> str:
    return a_free_port()


@pytest.fixture
def empty_postgres_url(postgres_url: str) -> Iterator[str]:
    """A database with nothing in it."""
    name = f"running_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        yield postgres_url.replace("/postgres?", f"/{name}?")
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
