"""`log10-io` 0.16.1 with its command line, in an environment of its own, against a served port."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from log10_server.db.database import Database
from log10_server.services import organizations
from log10_server.settings import Limits, Settings
from tests.clients.conftest import HERE, python_with
from tests.clients.log10_io import llm
from tests.conftest import Served, serve

TOKEN = "the-token-that-the-programs-have"
ORGANIZATION = "the-organization-of-the-programs"


@pytest.fixture(scope="session")
def python_with_log10_io() -> Path:
    return python_with("log10-io[cli]", HERE / "log10-io-constraints.txt")


@dataclass
class Home:
    """A served log10-server, and the client pointed at it by nothing but its own settings."""

    url: str
    environment: dict[str, str]
    python: Path
    folder: Path
    commands: "subprocess.Popen[str]"

    def get(self, path: str, **query: Any) -> Any:
        """What a GET of the versioned API answers."""
        answer = httpx.get(f"{self.url}/api/v1{path}", params=query, headers={"X-Log10-Token": TOKEN}, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, **fields: Any) -> Any:
        """What a POST to the versioned API answers."""
        answer = httpx.post(f"{self.url}/api/v1{path}", json=fields, headers={"X-Log10-Token": TOKEN}, trust_env=False)
        assert answer.is_success, answer.text
        return answer.json()

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program with the client's Python, in the client's folder."""
        return subprocess.run(
            [self.python, *command],
            env=self.environment | environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def tried(self, *arguments: str) -> dict[str, Any]:
        """How a command of `log10` ended, and what it printed."""
        assert self.commands.stdin is not None
        assert self.commands.stdout is not None
        self.commands.stdin.write(json.dumps(arguments) + "\n")
        self.commands.stdin.flush()
        ended: dict[str, Any] = json.loads(self.commands.stdout.readline())
        return ended

    def log10(self, *arguments: str) -> str:
        """What a command of `log10` prints; wide enough that no table is cut."""
        ended = self.tried(*arguments)
        assert ended["exit_code"] == 0, ended
        return str(ended["output"])


@pytest.fixture(scope="module")
def client_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("client")


@pytest.fixture(scope="module")
def served_in_small_pages(migrated: Database) -> Iterator[Served]:
    """A server whose lists end after ten, so that a client has to page."""
    yield from serve(migrated, Settings(limits=Limits(page=10)))


@pytest.fixture(scope="module")
def running(served_in_small_pages: Served, python_with_log10_io: Path, client_folder: Path) -> Iterator[Home]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(client_folder),
        "COLUMNS": "300",
        "LOG10_URL": served_in_small_pages.url,
        "LOG10_TOKEN": TOKEN,
        "LOG10_ORG_ID": ORGANIZATION,
    }
    with subprocess.Popen(
        [python_with_log10_io, Path(__file__).with_name("command_line.py")],
        env=environment,
        cwd=client_folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as commands:
        yield Home(served_in_small_pages.url, environment, python_with_log10_io, client_folder, commands)
        assert commands.stdin is not None
        commands.stdin.close()


def make_organization(database: Database) -> None:
    with database.writing() as connection:
        organizations.create(connection, database.clock, ORGANIZATION, "ours")
        organizations.issue_token(connection, database.clock, ORGANIZATION, TOKEN)


@pytest.fixture
def home(running: Home, database: Database) -> Home:
    """The client's home with an empty organization."""
    make_organization(database)
    return running


def run_program(home: Home) -> dict[str, Any]:
    """Run somebody's program that logs all kinds of calls; gives what it saw of itself."""
    with llm.served() as port:
        ran = home.run(Path(__file__).with_name("program.py"), LLM_PORT=str(port))
    assert ran.returncode == 0, ran.stderr
    seen: dict[str, Any] = json.loads(ran.stdout)
    return seen
