"""Connections that are kept open between transactions."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from sqlalchemy import Connection, Engine, event

from log10_server.db.failures import DRIVER_ERRORS
from log10_server.db.outage import Outage
from log10_server.errors import Refusal


class Connections:
    """The connections to one database, for reading and for writing, each lent to one thread at a time.

    After use they are kept here and do not go back to SQLAlchemy's pool, because the pool's work for each checkout
    takes longer than a short transaction.
    """

    def __init__(self, read_engine: Engine, write_engine: Engine, outage: Outage) -> None:
        self._read_engine = read_engine
        self._write_engine = write_engine
        self._outage = outage
        for pool in {read_engine.pool, write_engine.pool}:
            # Listeners run in the order in which they were added. This one comes after the backend's, which has run
            # statements, so a connection that reaches it has already answered.
            event.listen(pool, "connect", lambda *_: outage.connection_opened())
        self._idle_readers: list[Connection] = []
        self._idle_writers: list[Connection] = []

    def lend_reader(self) -> AbstractContextManager[Connection]:
        """A connection to read with."""
        return self._lend(self._read_engine, self._idle_readers)

    def lend_writer(self) -> AbstractContextManager[Connection]:
        """A connection to write with."""
        return self._lend(self._write_engine, self._idle_writers)

    def close(self) -> None:
        """Close the connections that are not in use, and dispose of the engines."""
        self._close_idle()
        self._read_engine.dispose()
        self._write_engine.dispose()

    @contextmanager
    def _lend(self, engine: Engine, idle: list[Connection]) -> Iterator[Connection]:
        try:
            connection = idle.pop()
        except IndexError:  # no connection is idle, or another thread has just taken the last one
            connection = self._open(engine)
        try:
            yield connection
        except Refusal:
            idle.append(connection)
            raise
        except BaseException:
            if connection.invalidated:  # the idle connections to the same server are lost too
                self._close_idle()
            connection.close()
            raise
        idle.append(connection)
        if self._outage.is_on:
            self._outage.transaction_succeeded()

    def _open(self, engine: Engine) -> Connection:
        try:
            connection = engine.connect()
        except DRIVER_ERRORS as error:
            self._outage.connection_failed(error)
            raise
        if engine is self._write_engine:
            # Creating a driver cursor costs more than a short statement, so connections to write with keep one.
            connection.info["log10_cursor"] = connection.connection.cursor()
        return connection

    def _close_idle(self) -> None:
        for idle in (self._idle_readers, self._idle_writers):
            with suppress(IndexError):
                while True:
                    connection = idle.pop()
                    connection.invalidate()  # otherwise `close` would return it to the pool, which would lend it again
                    connection.close()
