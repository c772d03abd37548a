"""Keeps the process on one CPU core, on Linux: the core that other processes use least.

Only one thread of a Python process runs at a time, because of the interpreter's lock. When the next thread runs on
another core, that core must be woken and its caches are cold: reading a list took up to twice as long. So all threads
stay on one core, and move to another together when other processes need theirs more.
"""

import contextlib
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from log10_server.validation.worker import ALL_CORES

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_CHECKS = 1.0
# Move only when other processes use this much more of our core than of the best other one (1.0 is a whole core).
_LEAST_GAIN = 0.2


class OneCore(threading.Thread):
    """The thread that moves the process. If the system refuses something, it allows all cores again and ends."""

    def __init__(self) -> None:
        super().__init__(name="one core", daemon=True)
        self._cores = sorted(os.sched_getaffinity(0))
        self._mine: int | None = None

    def run(self) -> None:
        """Check once a second until the process ends."""
        before = None
        while True:
            try:
                before = self._check(before)
            except Exception as error:
                log.warning("one core: %s, so all cores are used", type(error).__name__)
                with contextlib.suppress(OSError):
                    _keep_to(self._cores)
                return
            time.sleep(_SECONDS_BETWEEN_CHECKS)

    def _check(self, before: "CoreTimes | None") -> "CoreTimes":
        """Move to the core that others have used least since the check before."""
        now = CoreTimes(_busy_seconds(self._cores), time.process_time(), time.monotonic())
        if before is not None:
            seconds = now.at - before.at
            shares = {
                core: (now.cores[core] - before.cores[core]) / seconds for core in now.cores.keys() & before.cores
            }
            best = idlest(shares, self._mine, (now.own - before.own) / seconds)
            # Two processes that share a core must not both leave it for the same other one.
            if best is not None and best != self._mine and (self._mine is None or random.random() < 0.5):
                _keep_to([best])
                self._mine = best
        return now


class CoreTimes(NamedTuple):
    """For how many seconds each core has been busy and this process has run, up to `at` (seconds of a monotonic clock)."""

    cores: dict[int, float]
    own: float
    at: float


def idlest(shares: Mapping[int, float], mine: int | None, own: float) -> int | None:
    """The core to run on: `shares` says how busy each core is (1.0: always), `own` how busy this process keeps `mine`.

    It is `mine`, unless other processes use clearly less of another core. None when nothing is known.
    """
    if not shares:
        return mine
    others = {core: share - own if core == mine else share for core, share in shares.items()}
    best = min(others, key=lambda core: (others[core], -core))
    return mine if mine in others and others[mine] - others[best] < _LEAST_GAIN else best


def start() -> None:
    """Start the thread, on Linux with more than one core.

    Child processes may still use all cores: an environment variable tells them which there are.
    """
    if sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1:
        os.environ[ALL_CORES] = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        OneCore().start()


def _keep_to(cores: Iterable[int]) -> None:
    """Keep all threads of this process to `cores`. A thread that is started later inherits them from its parent."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.sched_setaffinity(int(thread), cores)


def _busy_seconds(cores: Iterable[int]) -> dict[int, float]:
    """For how many seconds each core has been busy since the machine was started, by core."""
    ticks = os.sysconf("SC_CLK_TCK")
    busy = {}
    with open("/proc/stat") as lines:
        for line in lines:
            name, *counts = line.split()
            if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
                user, nice, system, _, _, irq, soft_irq, steal, *_ = map(int, counts)
                busy[int(name[3:])] = (user + nice + system + irq + soft_irq + steal) / ticks
    return busy
