"""The database: its connections, and how a transaction begins and ends on one.

SQLite: one file in WAL mode, `synchronous=FULL`, foreign keys on; a write takes the write lock when it begins.
Postgres (14 or newer): READ COMMITTED, one writer at a time for each organization, by psycopg 3.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from sqlalchemy import Connection, Engine, Table, event, text
from sqlalchemy.exc import DBAPIError

from log10_server.clock import Clock
from log10_server.db import engines
from log10_server.db.failures import is_connection_lost, refused
from log10_server.db.outage import Outage
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.errors import Refusal, Unavailable

if TYPE_CHECKING:  # the driver is loaded where it is used
    from psycopg.pq.abc import PGconn, PGresult

T = TypeVar("T")


class CommonTags(NamedTuple):
    """When a tag counts as common, and how that is found out (`store/completion_tags`). Tests lower these."""

    min_completions: int = 1000  # completions that have it
    sample_one_in: int = 256  # of how many completions one is looked at
    max_tags_for_pairs: int = 24  # tags of one completion, beyond which their pairs are not kept


_STEPS_BETWEEN_LOOKS = 100_000  # of SQLite's machine; some milliseconds


class Database:
    """One database, SQLite or Postgres, for all organizations. Opening it opens no connection yet."""

    def __init__(self, url: str, readers: int = 4, clock: Clock | None = None) -> None:
        """Raises SettingsError for a URL of another kind. Without a `clock`, the system's clock is used."""
        self.url = engines.database_url(url)
        self.is_postgres = self.url.get_backend_name() == "postgresql"
        self.clock = clock or Clock()
        # Readers and writers keep connections of their own: they differ in what each is told when it opens.
        if self.is_postgres:
            self.engine, self._reads = (
                engines.postgres(self.url, 2),
                engines.postgres(self.url, readers + 2, "AUTOCOMMIT"),
            )
            # It is told here when to begin: with the locks of organizations in the same message.
            self._writes = self.engine.execution_options(isolation_level="AUTOCOMMIT", log10_writes=True)
        else:
            self.engine = self._reads = engines.sqlite(self.url, readers + 2)
            self._writes = engines.sqlite(self.url, 2).execution_options(log10_writes=True)
        self.outage = Outage(self.describe())
        for pool in {self.engine.pool, self._reads.pool, self._writes.pool}:
            # Registered after the listeners of `engines`: a connection that this one sees has already answered.
            event.listen(pool, "connect", lambda *_: self.outage.connection_opened())
        self.common_tags = CommonTags()
        self.backfill_batch_size = 1000  # completions that are looked at when a task is filled (`store/ungraded`)
        self._idle_readers: list[Connection] = []
        self._idle_writers: list[Connection] = []
        self._inserted: dict[str, int] = {}
        self._times_grown = 0
        self.driver_error: Any = self.engine.dialect.loaded_dbapi.Error

    @contextmanager
    def reading(self, give_up: float | None = None) -> Iterator[Connection]:
        """A connection to read with.

        After `give_up` (of `time.monotonic`) SQLite ends its statement, and `Tx.check_deadline` raises; Postgres has its
        own time-out. Raises Unavailable then, and while the database can't be reached.
        """
        try:
            with self._lent(self._reads, self._idle_readers) as connection:
                connection.info["log10_give_up"] = give_up
                driver: Any = connection.connection.driver_connection
                if self.is_postgres:
                    self._plan_anew(connection)
                else:
                    driver.execute("BEGIN")  # all that is read is of one moment
                    if give_up is not None:
                        driver.set_progress_handler(lambda: int(time.monotonic() > give_up), _STEPS_BETWEEN_LOOKS)
                try:
                    yield connection
                finally:
                    if not self.is_postgres:
                        driver.set_progress_handler(None, 0)
                    if not connection.invalidated:
                        self._end(connection)
        except (DBAPIError, sqlite3.OperationalError) as error:
            raise refused(error) from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a transaction that is committed at the end, or rolled back when an exception passes.

        Raises Unavailable when the database can't be reached or the commit did not succeed.
        """
        with self._begun(_BEGIN) as (connection, _):
            yield connection

    @contextmanager
    def writing_for(self, organization_ids: Sequence[str]) -> Iterator[tuple[Connection, dict[str, Tx]]]:
        """As `writing`, with what `tx` gives for each of these organizations, told when it begins.

        One that another transaction has to itself just now is left out.
        """
        locks = ", ".join(f"pg_try_advisory_xact_lock({_key_of_lock(id)})" for id in organization_ids)
        with self._begun(f"{_BEGIN}; SELECT {locks}") as (connection, is_free):
            free = (
                compress(organization_ids, (told == b"t" for told in is_free)) if self.is_postgres else organization_ids
            )
            yield connection, {id: Tx(self, connection, id) for id in free}

    @contextmanager
    def _begun(self, on_postgres: str) -> Iterator[tuple[Connection, list[bytes]]]:
        """A connection in a transaction that began so, and what Postgres told then."""
        try:
            with self._lent(self._writes, self._idle_writers) as connection:
                if "log10_cursor" not in connection.info:
                    connection.info["log10_cursor"] = connection.connection.cursor()
                if self.is_postgres:
                    self._plan_anew(connection)
                with connection.begin():
                    yield connection, self._say(connection, on_postgres)
                    self._say(connection, "COMMIT")
        except (DBAPIError, sqlite3.OperationalError) as error:
            raise refused(error) from error

    def _say(self, connection: Connection, on_postgres: str) -> list[bytes]:
        """The values of the row that the last of these statements gives; nothing on SQLite, where SQLAlchemy says them.

        A cursor would take twice as long to say what has no parameters.
        """
        if not self.is_postgres:
            return []
        said = self._by_driver(connection, lambda driver: _said(driver.pgconn, on_postgres.encode()))
        return [said.get_value(0, column) for column in range(said.nfields)]

    @contextmanager
    def _lent(self, engine: Engine, idle: list[Connection]) -> Iterator[Connection]:
        """A connection that was used before and is well, if there is any: a pool would look after it each time, for
        longer than a short transaction takes."""
        try:
            connection = idle.pop()
        except IndexError:  # another thread may have taken the last
            connection = self._open(engine)
        try:
            yield connection
        except Refusal:
            idle.append(connection)
            raise
        except BaseException:
            if connection.invalidated:  # the others are as old
                self._close_idle()
            connection.close()
            raise
        idle.append(connection)
        if self.outage.is_on:
            self.outage.transaction_succeeded()

    def _open(self, engine: Engine) -> Connection:
        try:
            return engine.connect()
        except (DBAPIError, sqlite3.Error) as error:
            self.outage.connection_failed(error)
            raise

    def _close_idle(self) -> None:
        for idle in (self._idle_readers, self._idle_writers):
            with suppress(IndexError):
                while True:
                    connection = idle.pop()
                    connection.invalidate()  # else its pool would lend it again
                    connection.close()

    def _plan_anew(self, connection: Connection) -> None:
        """Let go of plans that were made when the tables were much smaller.

        A connection keeps the plans of its statements, and of the checks of foreign keys. Those made for a table that
        was as good as empty read all of it, for as long as it takes Postgres to count again: a minute in which a busy
        program stores a hundred thousand rows.
        """
        if connection.info.get("log10_grown") != self._times_grown:
            self._by_driver(connection, lambda driver: driver.execute("DISCARD PLANS"))
            connection.info["log10_grown"] = self._times_grown

    def grew(self, table: Table, rows: int) -> None:
        """So many rows were inserted; whenever those of a table have become four times as many, plans are made anew."""
        inserted = self._inserted.get(table.name, 0)
        self._inserted[table.name] = inserted + rows
        if (inserted + rows).bit_length() // 2 > max(inserted.bit_length() // 2, 2):
            self._times_grown += 1

    def _end(self, connection: Connection) -> None:
        """End what was read. SQLAlchemy knows of the transaction when a statement went by its way."""
        if connection.in_transaction():
            connection.rollback()
        else:
            self._by_driver(connection, lambda driver: driver.rollback())

    def _by_driver(self, connection: Connection, do: Callable[[Any], Any]) -> Any:
        """Let the driver's connection do something. Raises as SQLAlchemy does."""
        try:
            return do(connection.connection.driver_connection)
        except self.driver_error as error:
            raise self.raised(error, connection) from error

    def is_in_transaction(self, connection: Connection) -> bool:
        """Whether what was written on it is still to be committed; on Postgres a commit tells."""
        driver = connection.connection.driver_connection
        return not isinstance(driver, sqlite3.Connection) or driver.in_transaction

    def raised(self, error: Any, connection: Connection) -> DBAPIError:
        """What SQLAlchemy would raise for an error of the driver; as there, a lost connection is dropped."""
        lost = self.engine.dialect.is_disconnect(error, connection.connection.driver_connection, None)
        if lost:
            connection.invalidate(error)
        raised: Any = DBAPIError.instance(None, None, error, self.driver_error, connection_invalidated=lost)
        return cast(DBAPIError, raised)

    def lock_exclusively(self, connection: Connection, what: str) -> None:
        """Until the transaction ends, no other process does `what`. SQLite has one writer at a time anyway."""
        if self.is_postgres:
            connection.execute(_EXCLUSIVELY, {"what": f"log10-server: {what}"})

    def describe(self) -> str:
        """Which database this is, for an operator; no password."""
        if self.is_postgres:
            port = f":{self.url.port}" if self.url.port else ""
            return f"Postgres: {self.url.database} on {self.url.host or 'a local socket'}{port}"
        return f"SQLite: {os.path.abspath(str(self.url.database))}"

    def tx(self, connection: Connection, organization_id: str) -> Tx:
        """The transaction on `connection` as that organization sees it.

        On a writing connection it has the organization to itself until its end, as on SQLite it has the file: what
        it looked up stays so, no two transactions lock rows in different orders, and a new task and a completion
        that are written at the same moment can't miss each other. Different organizations write at the same time.
        """
        tx = Tx(self, connection, organization_id)
        if self.is_postgres and connection.get_execution_options().get("log10_writes"):
            tx.run(_ALONE)
        return tx

    def read(self, work: Callable[[Connection], T], give_up: float | None = None) -> T:
        """What `work` gives on a connection to read with; again on a new one when the first turns out to be lost.

        Raises Unavailable, after `give_up` (of `time.monotonic`) too.
        """
        try:
            with self.reading(give_up) as connection:
                return work(connection)
        except Unavailable as refusal:
            if not is_connection_lost(refusal):
                raise
        with self.reading(give_up) as connection:
            return work(connection)

    def close(self) -> None:
        self._close_idle()
        for engine in (self.engine, self._reads, self._writes):
            engine.dispose()


_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"  # whatever the server's default: a lock is asked for, then looked up
_EXCLUSIVELY = text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 10))")
_KEY_OF_LOCK = "hashtextextended({}, 10)"
_ALONE = Statement(
    lambda _: text(f"SELECT pg_advisory_xact_lock({_KEY_OF_LOCK.format('CAST(:organization_id AS text)')})")
)


def _key_of_lock(organization_id: str) -> str:
    """As `_ALONE` has it, for a statement without parameters: no id can be more than a text there."""
    return _KEY_OF_LOCK.format(f"convert_from(decode('{organization_id.encode().hex()}', 'hex'), 'UTF8')")


def _said(connection: "PGconn", statements: bytes) -> "PGresult":
    """What the last of them gave. Raises an error of the driver, also for a COMMIT of what had failed before."""
    result = connection.exec_(statements)
    if not result.error_message and result.command_status != b"ROLLBACK":
        return result
    from psycopg import OperationalError, errors, pq

    if not result.error_message:
        raise errors.InFailedSqlTransaction("A statement failed, so there was nothing to commit.")
    if connection.status != pq.ConnStatus.OK:  # what is lost has no number that says so
        raise OperationalError(result.error_message.decode(errors="replace"))
    raise errors.error_from_result(result)
