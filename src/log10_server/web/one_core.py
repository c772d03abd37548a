"""Keeps the process on one core, on Linux: always that one which others need least.

The threads of a Python process take turns in one interpreter. A turn on another core finds that core's caches cold,
and each core that waits for a turn has to be woken: reading a list took up to twice as long. So all threads stay
together, and move together when others need their core more.
"""

import contextlib
import os
import random
import sys
import threading
import time
from collections.abc import Iterable, Mapping

_BETWEEN_LOOKS = 1.0  # seconds
_SHARE = 0.2  # of a core, that others must use more of ours than of another before we go there


class OneCore(threading.Thread):
    """Looks after the process until that ends. Processes that it starts may use every core (`every_core`)."""

    def __init__(self) -> None:
        super().__init__(name="one core", daemon=True)

    def run(self) -> None:
        cores = sorted(os.sched_getaffinity(0))
        mine: int | None = None
        used, own, at = _used(cores), time.process_time(), time.monotonic()
        while True:
            time.sleep(_BETWEEN_LOOKS)
            before, own_before, at_before = used, own, at
            used, own, at = _used(cores), time.process_time(), time.monotonic()
            shares = {core: (used[core] - before[core]) / (at - at_before) for core in used.keys() & before.keys()}
            best = idlest(shares, mine, (own - own_before) / (at - at_before))
            # Two processes that share a core must not both leave it for the same other one.
            if best is not None and best != mine and (mine is None or random.random() < 0.5):
                mine = best
                _keep_to([mine])


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
    """Begin, where the system can do it and there is more than one core."""
    if sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1:
        OneCore().start()


def _keep_to(cores: Iterable[int]) -> None:
    """All threads that there are; later ones begin where they are begun from."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # it has ended
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
