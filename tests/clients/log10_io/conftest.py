"""`log10-io` 0.16.1 with its command line, in an environment of its own, against a served port."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import HERE, python_with
from tests.clients.log10_io import llm
from tests.running import Program

PROGRAM = Path(__file__).with_name("program.py")


@pytest.fixture(scope="session")
def python_with_log10_io() -> Path:
    return python_with("log10-io[cli]", HERE / "log10-io-constraints.txt")


@dataclass
class Home:
    """A served log10-server, and the client's environment pointed at it by nothing but its own settings."""

    url: str
    environment: dict[str, str]
    python: Path
    folder: Path

    def get(self, path: str, **query: Any) -> Any:
        """What the versioned API says."""
        headers = {"X-Log10-Token": self.environment["LOG10_TOKEN"]}
        answer = httpx.get(f"{self.url}/api/v1{path}", params=query, headers=headers, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command of the client's environment in the client's folder."""
        return subprocess.run(
            [self.python, *command],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def log10(self, *arguments: str) -> str:
        """What the `log10` command prints; wide enough that no table is cut."""
        ran = self.run("-m", "log10", *arguments)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout


@pytest.fixture
def home(program: Program, python_with_log10_io: Path, tmp_path: Path) -> Home:
    served = program.serve()
    environment = {
        "PATH": program.environment["PATH"],
        "HOME": str(tmp_path),
        "COLUMNS": "300",
        **served.exported(),
    }
    return Home(served.url, environment, python_with_log10_io, tmp_path)


def run_program(home: Home) -> dict[str, Any]:
    """Run somebody's program that logs all kinds of calls; gives what it saw of itself."""
    with llm.served() as port:
        home.environment["LLM_PORT"] = str(port)
        ran = home.run(PROGRAM)
    assert ran.returncode == 0, ran.stderr
    seen: dict[str, Any] = json.loads(ran.stdout)
    return seen
