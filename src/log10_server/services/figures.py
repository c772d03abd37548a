"""Sums of calls that parts can be added to and taken back from without any rounding, and a sketch of their durations.

The sketch counts durations in buckets whose bounds grow by two percent, as DDSketch does (Masson, Rim and Lee, 2019).
So the value that it gives for a percentile differs from the true one by at most one percent. The published libraries
can't take counts back, which is why the forty lines of it are written here.
"""

import math
import sys
from collections.abc import Iterable, Mapping
from decimal import Context, Decimal

import msgspec

_GROWTH = 1.02
_LOG_OF_GROWTH = math.log(_GROWTH)
# The middle of a bucket, as a share of its upper bound: it differs from both bounds by the same percentage.
_LOG_OF_MIDDLE = math.log(2 / (_GROWTH + 1))
_LOG_OF_LARGEST = math.log(sys.float_info.max)
_SIGNIFICANT_DIGITS = 6
# The buckets of durations that are not positive. They lie below those of the positive durations, which are the upper
# bounds as powers of `_GROWTH`: from -37 600 to 35 850 for all doubles.
_ZERO = -100_000
_NEGATIVE = -200_000
# Enough digits to add the largest and the smallest double exactly.
_EXACT = Context(prec=1200)


class Counts(msgspec.Struct, array_like=True):
    """The counts of some calls. `unknown` is the number of calls without a count of input or output tokens."""

    calls: int = 0
    unknown: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Figures(Counts, array_like=True):
    """The sums over some calls. `seconds` is the exact sum of the durations, `durations` their number by bucket."""

    seconds: Decimal = Decimal(0)
    durations: dict[int, int] = msgspec.field(default_factory=dict)

    def add_call(
        self, input_tokens: int | None, output_tokens: int | None, duration: float | None, sign: int = 1
    ) -> None:
        """Add a call, or take it back with a `sign` of -1."""
        self.calls += sign
        if input_tokens is None or output_tokens is None:
            self.unknown += sign
        self.input_tokens += sign * (input_tokens or 0)
        self.output_tokens += sign * (output_tokens or 0)
        if duration is not None:
            self.seconds = _EXACT.add(self.seconds, sign * Decimal(repr(duration)))
            add_to_bucket(self.durations, duration, sign)

    def add(self, other: "Figures") -> None:
        """Add the sums of other calls. Figures that were made with a `sign` of -1 are taken back by this."""
        self.calls += other.calls
        self.unknown += other.unknown
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.seconds = _EXACT.add(self.seconds, other.seconds)
        add_buckets(self.durations, other.durations)

    def drop_empty_buckets(self) -> None:
        """Remove the buckets that hold nothing any more, so that the sums are as if nothing had ever been there."""
        self.durations = {bucket: count for bucket, count in self.durations.items() if count}
        if not self.durations:
            self.seconds = Decimal(0)


def add_to_bucket(buckets: dict[int, int], duration: float, sign: int = 1) -> None:
    """Count a duration in its bucket."""
    bucket = _bucket(duration)
    buckets[bucket] = buckets.get(bucket, 0) + sign


def add_buckets(buckets: dict[int, int], others: Mapping[int, int]) -> None:
    """Add the counts of other buckets."""
    if not buckets:
        buckets.update(others)
        return
    get = buckets.get
    for bucket, count in others.items():
        buckets[bucket] = get(bucket, 0) + count


def total_seconds(sums: Figures, durations: Iterable[float]) -> Decimal:
    """The exact sum of the durations in the sums and of these durations."""
    total = sums.seconds
    for duration in durations:
        total = _EXACT.add(total, Decimal(repr(duration)))
    return total


def percentile_95(buckets: Mapping[int, int], durations: Iterable[float]) -> float | None:
    """The 95th percentile, by the nearest rank, of the durations in the buckets and of these durations.

    With buckets it has an error of at most 1 % of its value, and without it is exact. None without durations.
    """
    if not buckets:
        exact = sorted(durations)
        return exact[_rank(len(exact)) - 1] if exact else None
    counts = dict(buckets)
    for duration in durations:
        add_to_bucket(counts, duration)
    rest = _rank(sum(counts.values()))
    for bucket in sorted(counts):
        rest -= counts[bucket]
        if rest <= 0:
            return _value(bucket)
    return None


def _rank(count: int) -> int:
    """The nearest rank of the 95th percentile of `count` values, counted from 1: 0.95 of them, rounded up."""
    return count - count // 20


def _bucket(duration: float) -> int:
    if duration > 0:
        return math.ceil(math.log(duration) / _LOG_OF_GROWTH)
    return _NEGATIVE - _bucket(-duration) if duration < 0 else _ZERO


def _value(bucket: int) -> float:
    if bucket == _ZERO:
        return 0.0
    if bucket < _ZERO:
        return -_value(_NEGATIVE - bucket)
    value = math.exp(min(bucket * _LOG_OF_GROWTH + _LOG_OF_MIDDLE, _LOG_OF_LARGEST))
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
