"""Load by `wrk`: one thread of it, so that it takes little from a server on the same machine."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from benchmarks.options import CantMeasure

SCRIPTS = Path(__file__).parent / "load"


class Load(NamedTuple):
    """What a run did. All `requests` were answered with 2xx; latencies are in milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


class Asked(NamedTuple):
    """How a run asks: a script of `load/` with its arguments, and the path for those that only get."""

    script: str
    arguments: tuple[str, ...] = ()
    path: str = "/"


def check_there() -> None:
    """Raises CantMeasure without the tool."""
    if shutil.which("wrk") is None:
        raise CantMeasure(
            "The load tool wrk is not there. On Debian and Ubuntu: apt install wrk; on macOS: brew install wrk."
        )


def run(url: str, token: str, asked: Asked, clients: int, seconds: int) -> Load:
    """Raises CantMeasure when one answer was not 2xx: such a run measures nothing."""
    with started(url, token, asked, clients, seconds) as process:
        said, _ = process.communicate()
    found = re.search(r"^RESULT (.*)$", said, re.M)
    if process.returncode != 0 or found is None:
        raise CantMeasure(f"wrk ended with {process.returncode} on {url}{asked.path} ({asked.script}):\n{said}")
    result = json.loads(found[1])
    if result["refused"] or result["broken"] or not result["requests"]:
        raise CantMeasure(
            f"{asked.script} {' '.join(asked.arguments)} on {url}{asked.path}: of {result['requests']} requests "
            f"{result['refused']} were refused and {result['broken']} had no answer."
        )
    return Load(result["requests"], result["microseconds"] / 1e6, result["p50"] / 1000, result["p99"] / 1000)


def started(url: str, token: str, asked: Asked, clients: int, seconds: int) -> subprocess.Popen[str]:
    """The tool at work; what it prints comes through its pipe."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s", "-s", asked.script]
    command += ["-H", f"X-Log10-Token: {token}", url + asked.path, "--", *asked.arguments]
    # The scripts find one another from their own folder.
    return subprocess.Popen(command, cwd=SCRIPTS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
