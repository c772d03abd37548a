"""When work is tried again, how often, and how long the pause between is: one policy for each reason.

Work is tried again in these cases and in no others:

- An open connection turned out to be lost while reading: once more, on a new connection.
- A connection was lost before the commit began, or another transaction was in the way of a write: up to five times.
- Another process holds the write lock of a SQLite file: for as long as a write may wait.
- Postgres does not answer yet while a program starts: for as long as the operator has set.

A commit whose outcome is unknown is never repeated here: the caller is told, and repeats the request if it wants to.
"""

import random
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class RetryPolicy(NamedTuple):
    """How often work is tried, and how long: no more than `attempts` times, and no longer than `seconds` in all.

    The pause before each further attempt is a random one between the two bounds, in seconds, so that two programs
    that were in each other's way do not meet again.
    """

    attempts: int | None = None
    seconds: float | None = None
    shortest_pause: float = 0.0
    longest_pause: float = 0.0

    def run(self, work: Callable[[], T], is_transient: Callable[[Exception], bool]) -> T:
        """Return what `work` returns. Raises its last error: a lasting one at once, a transient one at the end."""
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
# SQLite itself would wait in steps of up to 100 ms, and another busy process would take every free moment.
SQLITE_WRITE_LOCK = RetryPolicy(seconds=8.0, shortest_pause=0.0005, longest_pause=0.002)
START = RetryPolicy(seconds=0.0, shortest_pause=0.5, longest_pause=0.5)
