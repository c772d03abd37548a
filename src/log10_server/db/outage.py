"""Notices when the database is lost and when it is back, and logs one line for each."""

import logging
import threading
import time

log = logging.getLogger(__name__)

_SECONDS_TO_TRUST_OLD_CONNECTIONS = 5.0


class Outage:
    """Whether the database can be reached, as far as the connections of this process have shown.

    An outage begins when no new connection can be opened, not when an open one breaks: after a quick restart of
    Postgres the next call opens a new connection and succeeds, and nobody was refused. It ends when a new connection
    was opened, or when an old one still works some seconds after the last one that failed to open (a Postgres that
    was frozen goes on with the connections it has). A database that was never reached is not lost: whoever starts the
    server is told then.
    """

    def __init__(self, database: str) -> None:
        self.is_on = False  # read after every transaction, so without taking the lock
        self._database = database
        self._was_reached = False
        self._began = self._last_failure = 0.0  # seconds of `time.monotonic`
        self._lock = threading.Lock()

    def connection_failed(self, error: BaseException) -> None:
        """A new connection could not be opened."""
        with self._lock:
            self._last_failure = time.monotonic()
            if self.is_on or not self._was_reached:
                return
            self.is_on = True
            self._began = self._last_failure
            log.error("database lost: %s (%s)", _first_line(error), self._database)

    def connection_opened(self) -> None:
        """A new connection was opened and has answered."""
        with self._lock:
            self._was_reached = True
            self._end()

    def transaction_succeeded(self) -> None:
        """A transaction succeeded while `is_on`, perhaps on a connection from before the outage."""
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
