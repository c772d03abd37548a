"""Converts and adds durations without rounding errors of binary fractions.

A duration is stored in seconds, as a double. With doubles, `1100.1 / 1000` is 1.1000999999999999 and `0.1 + 0.2` is
0.30000000000000004. So this module calculates with decimals, which it makes from the shortest text of each double.
"""

import math
from collections.abc import Iterable
from decimal import Decimal

# Above this bound doubles cannot represent every integer, and the text of an integer could have up to 309 digits.
_EXACT_INTEGERS = 2**53
# A mean is a sum of doubles, divided by their number. Its last digits depend on the order in which the database adds
# them, so they are rounded off.
_DIGITS_OF_A_MEAN = 12
_NANOSECOND_IN_MILLISECONDS = 6


def compact(duration: float | None) -> float | None:
    """Return a duration that is a whole number as an integer, so that JSON shows `1234` and not `1234.0`."""
    if duration is None or duration % 1 or abs(duration) > _EXACT_INTEGERS:
        return duration
    return int(duration)


def seconds(milliseconds: float) -> float:
    """Convert milliseconds to seconds."""
    return float(Decimal(repr(milliseconds)).scaleb(-3))


def milliseconds(seconds: float | None) -> float | None:
    """Convert seconds to milliseconds, rounded to the nanosecond.

    Returns None if the result is too large for a double.
    """
    if seconds is None:
        return None
    shifted = float(Decimal(repr(seconds)).scaleb(3))
    return None if math.isinf(shifted) else compact(round(shifted, _NANOSECOND_IN_MILLISECONDS))


def total(parts: Iterable[float]) -> float:
    """Add durations in decimal arithmetic: the sum of 0.1 and 0.2 is 0.3."""
    return float(sum(Decimal(repr(part)) for part in parts))


def mean(duration: float | None) -> float | None:
    """Round a mean to 12 significant digits. For means up to 1000 seconds that is a nanosecond or finer."""
    return None if duration is None else compact(float(f"{duration:.{_DIGITS_OF_A_MEAN}g}"))
