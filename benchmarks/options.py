"""What can be chosen for a run, read from the environment."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

DATABASES = ("sqlite", "postgres")
PEERS = ("phoenix",)


class CantMeasure(Exception):
    """Why there is no result; the text is for whoever started the run."""


@dataclass(frozen=True)
class Options:
    """`seconds` is the length of one run of the load tool, `only` a part of the names of the rows to measure.

    For `scale`: `size` is the number of completions in the largest history, `bytes` the size of each of them as JSON,
    `calls` how often a request is repeated at most, and `history` the folder in which loaded histories are kept.
    `peer` is who else is measured.
    """

    rounds: int = 5
    seconds: int = 4
    only: str = ""
    databases: tuple[str, ...] = DATABASES
    size: int = 1_000_000
    bytes: int = 2500
    calls: int = 300
    peer: str = ""
    history: Path | None = None

    def wants(self, name: str) -> bool:
        return self.only in name


def from_environment() -> Options:
    """Raises CantMeasure for a variable that can't be used."""
    databases = tuple(os.environ.get("DATABASES", "").replace(",", " ").split()) or DATABASES
    if unknown := set(databases) - set(DATABASES):
        raise CantMeasure(f"DATABASES names {', '.join(sorted(unknown))}. There are: {', '.join(DATABASES)}.")
    peer = os.environ.get("PEER", "")
    if peer and peer not in PEERS:
        raise CantMeasure(f"PEER is {peer!r}. There are: {', '.join(PEERS)}.")
    return Options(
        rounds=_number("ROUNDS", Options.rounds),
        seconds=_number("SECONDS", Options.seconds),
        only=os.environ.get("ONLY", ""),
        databases=databases,
        size=_number("SIZE", Options.size, least=10_000),
        bytes=_number("BYTES", Options.bytes, least=600),
        calls=_number("CALLS", Options.calls),
        peer=peer,
        history=Path(kept).resolve() if (kept := os.environ.get("HISTORY", "").strip()) else None,
    )


def scratch() -> Path:
    """A new folder for databases. Not in /tmp where that can be helped: it may be memory, and a commit then costs nothing."""
    chosen = os.environ.get("BENCH_DIR") or ("/var/tmp" if Path("/var/tmp").is_dir() else None)
    folder = Path(tempfile.mkdtemp(prefix="log10-bench-", dir=chosen))
    folder.chmod(0o755)  # a private Postgres that root starts runs as another user
    return folder


def _number(name: str, default: int, least: int = 1) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) < least:
        raise CantMeasure(f"{name} must be a whole number from {least}, not {text!r}.")
    return int(text)
