"""Runs the load tool `wrk` with one thread, so that it takes little CPU from the server on the same machine."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from benchmarks.options import CantMeasure

SCRIPTS = Path(__file__).parent / "load"


class Load(NamedTuple):
    """The result of a run. All `requests` were answered with 2xx; `p50` and `p99` are latencies in milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


class LoadScript(NamedTuple):
    """A script of `load/` with its arguments. `path` is for scripts that only send GET requests."""

    script: str
    arguments: tuple[str, ...] = ()
    path: str = "/"


def check_there() -> None:
    """Raises CantMeasure when the tool is not installed."""
    if shutil.which("wrk") is None:
        raise CantMeasure(
            "The load tool wrk is not installed. On Debian and Ubuntu: apt install wrk; on macOS: brew install wrk."
        )


def run(url: str, token: str, load_script: LoadScript, clients: int, seconds: int) -> Load:
    """Run a script. Raises CantMeasure when an answer was not 2xx, since the figures would mean nothing."""
    with start(url, token, load_script, clients, seconds) as process:
        output, _ = process.communicate()
    match = re.search(r"^RESULT (.*)$", output, re.M)
    if process.returncode != 0 or match is None:
        raise CantMeasure(
            f"wrk ended with {process.returncode} on {url}{load_script.path} ({load_script.script}):\n{output}"
        )
    result = json.loads(match[1])
    if result["refused"] or result["broken"] or not result["requests"]:
        raise CantMeasure(
            f"{load_script.script} {' '.join(load_script.arguments)} on {url}{load_script.path}: of "
            f"{result['requests']} requests {result['refused']} were refused and {result['broken']} had no answer."
        )
    return Load(result["requests"], result["microseconds"] / 1e6, result["p50"] / 1000, result["p99"] / 1000)


def start(url: str, token: str, load_script: LoadScript, clients: int, seconds: int) -> subprocess.Popen[str]:
    """Start the tool. Its output can be read from the pipe of the process."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s", "-s", load_script.script]
    command += ["-H", f"X-Log10-Token: {token}", url + load_script.path, "--", *load_script.arguments]
    # The scripts load one another by relative paths, so the tool runs in their folder.
    return subprocess.Popen(command, cwd=SCRIPTS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
