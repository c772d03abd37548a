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
# Move only if other processes use at least this much more of the current core than of the best other core (1.0 is a
# whole core).
_MIN_GAIN = 0.2


class OneCore(threading.Thread):
    """The thread that moves the process to the least busy core. On any error it allows all cores again, and ends."""

    def __init__(self) -> None:
        super().__init__(name="one core", daemon=True)
        self._cores = sorted(os.sched_getaffinity(0))
        self._current_core: int | None = None

    def run(self) -> None:
        """Check once a second until the process ends."""
        before = None
        while True:
            try:
                before = self._check(before)
            except Exception as error:
                log.warning("staying on one core failed (%s), so all cores are used", type(error).__name__)
                with contextlib.suppress(OSError):
                    _set_cores(self._cores)
                return
            time.sleep(_SECONDS_BETWEEN_CHECKS)

    def _check(self, before: "CoreTimes | None") -> "CoreTimes":
        """Move to the core that other processes have used least since the last check, `before`; returns this check."""
        now = CoreTimes(_busy_seconds(self._cores), time.process_time(), time.monotonic())
        if before is not None:
            seconds = now.at - before.at
            shares = {
                core: (now.cores[core] - before.cores[core]) / seconds for core in now.cores.keys() & before.cores
            }
            best = idlest(shares, self._current_core, (now.process_seconds - before.process_seconds) / seconds)
            # Move only half of the times, at random. Otherwise two servers that share a core would both move to the
            # same other core, and share that.
            if (
                best is not None
                and best != self._current_core
                and (self._current_core is None or random.random() < 0.5)
            ):
                _set_cores([best])
                self._current_core = best
        return now


class CoreTimes(NamedTuple):
    """The busy seconds of each core, and the CPU seconds of this process, at the time `at` (of `time.monotonic`)."""

    cores: dict[int, float]
    process_seconds: float
    at: float


def idlest(shares: Mapping[int, float], current_core: int | None, process_share: float) -> int | None:
    """Return the core to run on. `shares` is how busy each core is (1.0: always), by core.

    `process_share` is how much of it this process uses. The result is the current core, unless other processes use
    clearly less of another one. If `shares` is empty, it is the current core too, which may be None.
    """
    if not shares:
        return current_core
    others = {core: share - process_share if core == current_core else share for core, share in shares.items()}
    best = min(others, key=lambda core: (others[core], -core))
    return current_core if current_core in others and others[current_core] - others[best] < _MIN_GAIN else best


def start() -> None:
    """Start the thread, on Linux with more than one core.

    An environment variable lists all cores, so that child processes can use them.
    """
    if sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1:
        os.environ[ALL_CORES] = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        OneCore().start()


def _set_cores(cores: Iterable[int]) -> None:
    """Restrict all threads of this process to `cores`. Threads that start later inherit the restriction."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # the thread has ended in the meantime
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
