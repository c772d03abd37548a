"""Detects when the database becomes unreachable and when it is reachable again, and logs one line each time."""

import logging
import threading
import time

log = logging.getLogger(__name__)

_SECONDS_TO_TRUST_OLD_CONNECTIONS = 5.0


class Outage:
    """Whether the database can be reached, judged by the connections of this process.

    An outage begins when opening a new connection fails. A broken connection alone does not begin one: after a quick
    restart of Postgres the next call opens a new connection and succeeds, so no client notices. An outage ends when a
    new connection is opened. It also ends when an old connection still works some seconds after the last failure to
    open one, because a Postgres that was frozen continues with its open connections. While the database has never
    been reached there is no outage: the start of the server reports that case itself.
    """

    def __init__(self, database: str) -> None:
        self.is_on = False  # read without the lock, because it is read after every transaction
        self._database = database
        self._was_reached = False
        self._began = self._last_failure = 0.0  # seconds of `time.monotonic`
        self._lock = threading.Lock()

    def connection_failed(self, error: BaseException) -> None:
        """Report that a new connection could not be opened."""
        with self._lock:
            self._last_failure = time.monotonic()
            if self.is_on or not self._was_reached:
                return
            self.is_on = True
            self._began = self._last_failure
            log.error("database lost: %s (%s)", _first_line(error), self._database)

    def connection_opened(self) -> None:
        """Report that a new connection was opened and has answered."""
        with self._lock:
            self._was_reached = True
            self._end()

    def transaction_succeeded(self) -> None:
        """Report that a transaction succeeded while `is_on`, perhaps on a connection from before the outage."""
        with self._lock:
            if time.monotonic() - self._last_failure > _SECONDS_TO_TRUST_OLD_CONNECTIONS:
                self._end()

    def _end(self) -> None:
        if self.is_on:
            self.is_on = False
            log.warning("database back after %.0f s (%s)", time.monotonic() - self._began, self._database)


def _first_line(error: BaseException) -> str:
    """The first line of the driver's message, which never contains a password."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
