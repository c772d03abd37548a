"""The published clients, unmodified, each in an environment of its own: two of them share one import name."""

import fcntl
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.running import (
    CHECKOUT,
    empty_postgres_url,
    on_postgres,
    on_sqlite,
    plain_environment,
    program,
    program_on,
    serve,
)

__all__ = ["empty_postgres_url", "on_postgres", "on_sqlite", "plain_environment", "program", "program_on", "serve"]

HERE = Path(__file__).parent


def python_with(package: str, constraints: Path) -> Path:
    """The Python of an environment with `package`, which is created again when the pins or the Python change.

    Of several test processes one creates it while the others wait. The pip of the project's own environment installs:
    to put a pip into each environment, and to compile modules that no test imports, takes longer than the rest.
    """
    home = CHECKOUT / ".client-envs" / package
    pinned = f"Python {sys.version}\n{constraints.read_text()}"
    stamp = home / "pinned.txt"
    home.parent.mkdir(exist_ok=True)
    with home.with_name(f"{package}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.is_file() and stamp.read_text() == pinned):
            venv.create(home, clear=True)
            pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python")]
            options = ["-q", "--disable-pip-version-check", "--no-compile", "--constraint", str(constraints)]
            subprocess.run([*pip, "install", *options, package], check=True)
            stamp.write_text(pinned)  # last, so that an installation that failed is begun again
    return home / "bin" / "python"


@pytest.fixture(scope="session")
def python_with_log10py() -> Path:
    return python_with("log10py", HERE / "log10py-constraints.txt")
