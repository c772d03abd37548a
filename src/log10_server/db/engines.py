"""How each kind of database is opened: what a connection is told first, and how SQLite begins a transaction."""

import random
import sqlite3
import time
from typing import Any, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import IsolationLevel
from sqlalchemy.exc import ArgumentError

from log10_server.settings import SettingsError

_LOCK_WAIT = 8.0  # seconds that a write waits for another process's write on the same SQLite file
_CONNECT_WAIT = 3  # seconds until a Postgres that doesn't answer counts as away


def database_url(text: str) -> URL:
    """The URL with the driver that is used here. Raises SettingsError for another kind of database."""
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError):
        raise SettingsError(
            "DATABASE_URL can't be read. Give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE."
        ) from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise SettingsError("DATABASE_URL names no file. Give sqlite:///FILE.")
        return url.set(drivername="sqlite")
    if backend == "postgresql":
        if "@" in (url.host or ""):
            raise SettingsError("DATABASE_URL has an @ in its user or password: write it as %40.")
        return url.set(drivername="postgresql+psycopg")
    raise SettingsError(f"DATABASE_URL names a {backend} database. Give sqlite:///FILE or postgresql://….")


def sqlite(url: URL, connections: int) -> Engine:
    engine = create_engine(
        url,
        connect_args={"check_same_thread": False, "isolation_level": None, "timeout": _LOCK_WAIT},
        pool_size=connections,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # FULL: a commit in WAL mode is on disk before it is answered; NORMAL may lose it in a power cut.
        for pragma in ("foreign_keys=ON", "synchronous=FULL", "temp_store=MEMORY", "cache_size=-16000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver = cast(sqlite3.Connection, connection.connection.driver_connection)
        if driver.in_transaction:
            return
        if connection.get_execution_options().get("log10_writes"):
            _begin_immediate(connection)
        else:
            driver.execute("BEGIN")

    return engine


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock first: a deferred transaction that reads and then writes fails at once when another one
    wrote between, and no timeout helps.

    SQLite itself would wait in steps of up to 100 ms, and a busy neighbour would take every free moment.
    """
    driver = cast(sqlite3.Connection, connection.connection.driver_connection)
    give_up = time.monotonic() + _LOCK_WAIT
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    raise
                time.sleep(random.uniform(0.0005, 0.002))
    finally:
        driver.execute(f"PRAGMA busy_timeout={int(_LOCK_WAIT * 1000)}")


def postgres(url: URL, connections: int, isolation: IsolationLevel = "READ COMMITTED") -> Engine:
    engine = create_engine(
        url,
        isolation_level=isolation,
        connect_args={
            "connect_timeout": _CONNECT_WAIT,
            "application_name": "log10-server",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        },
        pool_size=connections,
        pool_use_lifo=True,
        pool_timeout=10,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # A server that is set to answer before it has written would break the promise of an answer.
        autocommit, connection.autocommit = connection.autocommit, True
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        connection.execute("SET lock_timeout = '10s'")
        connection.execute("SET statement_timeout = '60s'")
        connection.autocommit = autocommit

    return engine
