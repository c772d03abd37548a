"""The published clients, unmodified, each in an environment of its own: two of them share one import name."""

import os
import shutil
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
    """The Python of an environment with `package`; it is made once, and anew when its pins or the Python change."""
    home = CHECKOUT / ".client-envs" / package
    pinned = f"Python {sys.version}\n{constraints.read_text()}"
    stamp = home / "pinned.txt"
    if not (stamp.is_file() and stamp.read_text() == pinned):
        # Under another name first: two runs at once must not fill one folder, and half an environment is none.
        made = home.with_name(f"{package}-{os.getpid()}")
        venv.create(made, with_pip=True, clear=True)
        install = [str(made / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, "--constraint", str(constraints), package], check=True)
        (made / "pinned.txt").write_text(pinned)
        shutil.rmtree(home, ignore_errors=True)
        made.rename(home)
    return home / "bin" / "python"


@pytest.fixture(scope="session")
def python_with_log10py() -> Path:
    return python_with("log10py", HERE / "log10py-constraints.txt")
