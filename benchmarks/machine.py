"""Describes the machine and the versions that were measured, because figures from different ones can't be compared."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.databases import Holder
from benchmarks.options import Options


def described(options: Options, holders: list[Holder]) -> dict[str, Any]:
    """The machine, the versions, the settings and the day, ready for JSON."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "databases": [holder.version() for holder in holders],
        "rounds": options.rounds,
        "seconds": options.seconds,
    }


def describe_in_a_line(machine: dict[str, Any]) -> str:
    """The same in one line for people."""
    versions = ", ".join(machine["databases"])
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['kernel']}; "
        f"Python {machine['python']}, {versions}; {machine['date']}"
    )


def _cpu() -> str:
    about = Path("/proc/cpuinfo")
    for line in about.read_text().splitlines() if about.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
