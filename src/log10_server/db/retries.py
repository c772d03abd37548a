"""Retry policies: how often work is repeated, and how long the pauses are, for each reason to repeat it.

Work is repeated in these cases and in no others:

- A connection was lost while reading: once more, on a new connection.
- A write lost its connection before the commit began, conflicted with another transaction, or violated a unique or
  foreign key because another transaction was faster: five attempts in all.
- Another process holds the write lock of a SQLite file: for as long as a write may wait.
- Postgres does not answer while the server starts: for as long as the operator has set.

A commit whose outcome is unknown is never repeated here. The client gets an error, and can send the request again.
"""

import random
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class RetryPolicy(NamedTuple):
    """How often and for how long work is tried: at most `attempts` times, and for at most `seconds` in all.

    Before each further attempt there is a pause of random length, in seconds, between the two bounds. It is random so
    that two conflicting programs do not conflict again.
    """

    attempts: int | None = None
    seconds: float | None = None
    shortest_pause: float = 0.0
    longest_pause: float = 0.0

    def run(self, work: Callable[[], T], is_transient: Callable[[Exception], bool]) -> T:
        """Return the result of `work`. An error that is not transient is raised at once, a transient one after the last
        attempt."""
        started = time.monotonic()
        attempt = 1
        while True:
            try:
                return work()
            except Exception as error:
                if not is_transient(error) or self._is_exhausted(attempt, started):
                    raise
            time.sleep(random.uniform(self.shortest_pause, self.longest_pause))
            attempt += 1

    def _is_exhausted(self, attempt: int, started: float) -> bool:
        if self.attempts is not None and attempt >= self.attempts:
            return True
        return self.seconds is not None and time.monotonic() - started >= self.seconds


READ = RetryPolicy(attempts=2)
WRITE = RetryPolicy(attempts=5, longest_pause=0.02)
# SQLite's own busy handler sleeps for up to 100 ms at a time, so another busy process would nearly always get the lock
# first. Short pauses give this process a fair chance.
SQLITE_WRITE_LOCK = RetryPolicy(seconds=8.0, shortest_pause=0.0005, longest_pause=0.002)
START = RetryPolicy(seconds=0.0, shortest_pause=0.5, longest_pause=0.5)
