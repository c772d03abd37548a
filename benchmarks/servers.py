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
OTHER_TOKEN = "another-token-for-measuring"
OTHER_ORGANIZATION = "other"  # which is to be served whatever the first one does
PROGRAM = Path(sys.executable).parent / "log10-server"
_STARTS_WITHIN = 600.0  # a start may migrate a large database
_IDLE_SECONDS = 3.0
_IDLE_CPU = 0.03  # seconds of CPU in half a second, below which a server is idle


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

    def resident(self) -> float:
        """The memory that is resident now, in MB."""
        return float(self._seen.memory_info().rss) / 2**20

    def written(self) -> int | None:
        """How many bytes the process has sent to the disk; None where the system does not say."""
        with suppress(AttributeError, OSError, psutil.Error):
            return int(self._seen.io_counters().write_bytes)
        return None

    def wait_until_idle(self, seconds: float) -> float:
        """Wait until the server does nothing by itself any more, and return how long that took.

        After a start it may still derive counts and fill in rows. Raises CantMeasure after `seconds`.
        """
        began = time.monotonic()
        idle_seconds = 0.0
        while idle_seconds < _IDLE_SECONDS:
            before = self.cpu()
            time.sleep(0.5)
            idle_seconds = idle_seconds + 0.5 if self.cpu() - before < _IDLE_CPU else 0.0
            if time.monotonic() > began + seconds:
                raise CantMeasure(f"{self.name} is still busy {seconds:.0f} s after its start.")
        return max(time.monotonic() - began - _IDLE_SECONDS, 0.0)

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
