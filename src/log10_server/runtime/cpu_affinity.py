"""Keeps the process on one core, on Linux: always that one which others need least.

The threads of a Python process take turns in one interpreter. A turn on another core finds that core's caches cold,
and each core that waits for a turn has to be woken: reading a list took up to twice as long. So all threads stay
together, and move together when others need their core more.
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

_BETWEEN_LOOKS = 1.0  # seconds
_SHARE = 0.2  # of a core, that others must use more of ours than of another before we go there


class OneCore(threading.Thread):
    """Looks after the process until that ends. What can't be seen or done gives all cores back."""

    def __init__(self) -> None:
        super().__init__(name="one core", daemon=True)
        self._cores = sorted(os.sched_getaffinity(0))
        self._mine: int | None = None

    def run(self) -> None:
        before = None
        while True:
            try:
                before = self._look(before)
            except Exception as error:
                log.warning("one core: %s, so all cores are used", type(error).__name__)
                with contextlib.suppress(OSError):
                    _keep_to(self._cores)
                return
            time.sleep(_BETWEEN_LOOKS)

    def _look(self, before: "Used | None") -> "Used":
        """Go where it is best since the look before."""
        now = Used(_used(self._cores), time.process_time(), time.monotonic())
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


class Used(NamedTuple):
    """How many seconds each core has been busy, and this process has used; `at` some time."""

    cores: dict[int, float]
    own: float
    at: float


def idlest(shares: Mapping[int, float], mine: int | None, own: float) -> int | None:
    """The core to be on: `shares` says how busy each is (1.0: always), `own` how busy this process keeps `mine`.

    It is `mine`, unless others use clearly less of another. None when nothing is known.
    """
    if not shares:
        return mine
    others = {core: share - own if core == mine else share for core, share in shares.items()}
    best = min(others, key=lambda core: (others[core], -core))
    return mine if mine in others and others[mine] - others[best] < _SHARE else best


def start() -> None:
    """Begin, where the system can do it and there is more than one core. Processes that are started may use all of them:
    they find them in the environment."""
    if sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1:
        os.environ[ALL_CORES] = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        OneCore().start()


def _keep_to(cores: Iterable[int]) -> None:
    """All threads that there are; later ones begin where they are begun from."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.sched_setaffinity(int(thread), cores)


def _used(cores: Iterable[int]) -> dict[int, float]:
    """For how many seconds each core has been busy since the machine was started."""
    ticks = os.sysconf("SC_CLK_TCK")
    used = {}
    with open("/proc/stat") as lines:
        for line in lines:
            name, *counts = line.split()
            if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
                user, nice, system, _, _, irq, soft_irq, steal, *_ = map(int, counts)
                used[int(name[3:])] = (user + nice + system + irq + soft_irq + steal) / ticks
    return used
