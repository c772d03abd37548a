"""Times of creation in microseconds, the clock that new rows get them from, and version 7 UUIDs made from them.

An instant is stored as whole microseconds since 1970 in UTC on both databases. A number sorts, compares and groups by
day in the same way everywhere, and it has no time zone that could be lost.
"""

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

MICROSECONDS = 1_000_000
DAY = 86_400 * MICROSECONDS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Time synchronization corrects a clock by less than this; a larger step back means that the clock was wrong.
_MAX_ABSORBED_STEP = MICROSECONDS


class Clock:
    """Gives the instants at which rows are created (docs/api.md, "Completions").

    Instants are unique and strictly increasing, so the rows of one process have an order, with one exception: when the
    system clock steps back by more than a second, they continue from the new time. Otherwise a process that started
    while the clock was an hour ahead would give every row a time in the future until that hour has passed. After such
    a step new rows sort before older ones, and an instant may be given a second time, so nothing may rely on either.
    """

    def __init__(self, nanoseconds: Callable[[], int] = time.time_ns) -> None:
        """`nanoseconds` reads the system clock: nanoseconds since 1970."""
        self._nanoseconds = nanoseconds
        self._lock = threading.Lock()
        self._last = 0  # the last instant that was returned
        self._latest_reading = 0  # the latest reading of the system clock since its last step back
        self._last_key = 0

    def now(self) -> int:
        """The current instant."""
        with self._lock:
            return self._take(1)

    def next_instants(self, count: int) -> range:
        """`count` instants in increasing order, as if `now` were called that many times."""
        with self._lock:
            first = self._take(count)
            return range(first, first + count)

    def new_key(self, after: int = 0) -> int:
        """A number that this process has never returned before. Keys stay unique even when the clock steps back.

        It is the current instant, or the number after the last one or after `after` where that is greater.
        """
        with self._lock:
            self._last_key = max(self._last_key + 1, after + 1, self._take(1))
            return self._last_key

    def _take(self, count: int) -> int:
        """Reserve the next `count` instants, and return the first of them. The caller must hold the lock.

        A step back is detected by comparing two readings. Comparing a reading with the last instant would be wrong,
        since taking many instants at once can put that ahead of the system clock.
        """
        reading = self._nanoseconds() // 1000
        if reading > self._latest_reading:
            self._latest_reading = reading
        elif reading < self._latest_reading - _MAX_ABSORBED_STEP:
            self._latest_reading = reading
            self._last = reading - 1
        first = max(self._last + 1, reading)
        self._last = first + count - 1
        return first


def uuid7(at: int) -> str:
    """A version 7 UUID (RFC 9562) for the instant `at`, in microseconds.

    The 12 bits after the milliseconds hold the fraction of a millisecond, so ids sort in the order of their instants.
    """
    milliseconds, rest = divmod(at, 1000)
    fraction = rest * 4096 // 1000
    tail = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    text = f"{milliseconds:012x}{0x7000 | fraction:04x}{tail:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def utc(at: int) -> datetime:
    """The instant `at` (microseconds) as an aware datetime."""
    seconds, microseconds = divmod(at, MICROSECONDS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)


def microseconds(moment: datetime) -> int:
    """The instant of `moment`, in microseconds since 1970. Without a time zone it is UTC (docs/api.md, "Lists")."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    return since.days * DAY + since.seconds * MICROSECONDS + since.microseconds
