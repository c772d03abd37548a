"""Servers in processes of their own: `log10-server serve`, and the limit that it is measured against."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.options import CantMeasure

TOKEN = "a-token-for-measuring"
ORGANIZATION = "benchmark"
PROGRAM = Path(sys.executable).parent / "log10-server"
_STARTS_WITHIN = 60.0


class Server:
    """A running server. Its costs are those of the process with its children."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, port: int
    ) -> None:
        """Starts it, and waits until it answers. Raises CantMeasure when it doesn't."""
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / f"{name}.log"
        plain = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command, env={**plain, **environment}, stdout=output, stderr=subprocess.STDOUT
            )
        self._seen = psutil.Process(self.process.pid)
        self._wait()

    def cpu(self) -> float:
        """Seconds of CPU since it was started."""
        return sum(_spent(process) for process in [self._seen, *self._seen.children(recursive=True)])

    def reset_peak(self) -> None:
        """Let the peak of memory begin anew; where the kernel can't, it stays that since the start."""
        with suppress(OSError):
            Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak(self) -> float:
        """The most memory that was resident at once, in MB (VmHWM)."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """As `kill -9`."""
        self.process.kill()
        self.process.wait()

    def _wait(self) -> None:
        give_up = time.monotonic() + _STARTS_WITHIN
        while time.monotonic() < give_up and self.process.poll() is None:
            with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{self.url}/healthz", timeout=5):
                return
            time.sleep(0.05)
        self.process.kill()
        raise CantMeasure(f"{self.name} does not answer. Its output:\n{self.log.read_text()}")


def ours(name: str, database_url: str, folder: Path) -> Server:
    """One process of the server with its default settings."""
    port = free_port()
    environment = {
        "DATABASE_URL": database_url,
        "LOG10_SERVER_PORT": str(port),
        "LOG10_SERVER_FIRST_TOKEN": TOKEN,
        "LOG10_SERVER_FIRST_ORGANIZATION_ID": ORGANIZATION,
    }
    return Server(name, [str(PROGRAM), "serve"], environment, folder, port)


def limit(lists: Path, folder: Path) -> Server:
    """The bare endpoint; `lists` is a file with the answers of its lists."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.limit", str(port), str(lists)]
    return Server("limit", command, {"PYTHONPATH": str(Path(__file__).parents[1])}, folder, port)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _spent(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0
