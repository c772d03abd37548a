"""Time, and the ids that carry it.

An instant is kept as whole microseconds since 1970 in UTC, on both databases: it sorts, compares and
groups by day as a number, and no time zone can be lost on the way.
"""

import os
import threading
import time
from datetime import UTC, datetime

MICROSECONDS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock:
    """Gives each instant once: strictly increasing microseconds, so what one process makes has an order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def now(self) -> int:
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1000)
            return self._last

    def several(self, count: int) -> range:
        """As many instants as one calls `now` for, in their order."""
        with self._lock:
            first = max(self._last + 1, time.time_ns() // 1000)
            self._last = max(self._last, first + count - 1)
            return range(first, first + count)


def uuid7(at: int) -> str:
    """A version 7 UUID (RFC 9562) of the instant `at`, in microseconds.

    The 12 bits behind the millisecond carry its microseconds, so ids of one process sort as they were made.
    """
    milliseconds, microseconds = divmod(at, 1000)
    fraction = microseconds * 4096 // 1000
    tail = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    text = f"{milliseconds:012x}{0x7000 | fraction:04x}{tail:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def utc(at: int) -> datetime:
    """The instant `at` (microseconds) as an aware datetime."""
    seconds, microseconds = divmod(at, MICROSECONDS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)


def microseconds(moment: datetime) -> int:
    """The instant of `moment`; one without a zone is UTC (docs/api.md, "Lists")."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * MICROSECONDS + since.microseconds
