"""Durations without the noise of binary fractions.

A duration is stored in seconds, as a double. `1100.1 / 1000` is 1.1000999999999999 in doubles, and `0.1 + 0.2` is
0.30000000000000004. So units are converted and durations are added in decimal arithmetic, on the digits that were sent.
"""

import math
from collections.abc import Iterable
from decimal import Decimal

# Beyond this a double does not hold every integer, and an integer would have up to 309 digits.
_EXACT_INTEGERS = 2**53
# A mean is the quotient of a sum of doubles; its last digits depend on the order of the sum.
_DIGITS_OF_A_MEAN = 12
_NANOSECOND_IN_MILLISECONDS = 6


def compact(duration: float | None) -> float | None:
    """The same number, as an integer if it is whole: `1234`, not `1234.0`."""
    if duration is None or duration % 1 or abs(duration) > _EXACT_INTEGERS:
        return duration
    return int(duration)


def seconds(milliseconds: float) -> float:
    """Milliseconds as seconds."""
    return float(Decimal(repr(milliseconds)).scaleb(-3))


def milliseconds(seconds: float | None) -> float | None:
    """Seconds as milliseconds, to the nanosecond; None where a double does not hold them."""
    if seconds is None:
        return None
    shifted = float(Decimal(repr(seconds)).scaleb(3))
    return None if math.isinf(shifted) else compact(round(shifted, _NANOSECOND_IN_MILLISECONDS))


def total(parts: Iterable[float]) -> float:
    """The sum: of 0.1 and 0.2 it is 0.3."""
    return float(sum(Decimal(repr(part)) for part in parts))


def mean(duration: float | None) -> float | None:
    """A mean to 12 significant digits, which is to the nanosecond for up to 1000 seconds."""
    return None if duration is None else compact(float(f"{duration:.{_DIGITS_OF_A_MEAN}g}"))
