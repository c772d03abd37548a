"""Durations: converted between units, added and averaged as a person would by hand."""

import random

import pytest

from log10_server.services import durations


@pytest.mark.parametrize(
    ("milliseconds", "seconds"),
    [
        (1100.1, 1.1001),  # in doubles, 1100.1 / 1000 is 1.1000999999999999
        (1234, 1.234),
        (4.1, 0.0041),
        (0.1, 0.0001),
        (1e-9, 1e-12),
        (-2.1, -0.0021),
        (10**18, 1e15),
        (1.7e308, 1.7e305),
        (0, 0),
    ],
)
def test_milliseconds_become_the_seconds_that_a_person_would_write(milliseconds: float, seconds: float) -> None:
    assert durations.seconds(milliseconds) == seconds


def test_milliseconds_come_back_as_they_were_sent() -> None:
    chosen = random.Random(7)
    for _ in range(10_000):
        milliseconds = round(chosen.uniform(0, 10 ** chosen.randint(1, 9)), chosen.randint(0, 4))

        assert durations.milliseconds(durations.seconds(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("seconds", "spelled"),
    [
        (1.1001, "1100.1"),
        (1.234, "1234"),
        (0.8, "800"),
        (-0.0, "0"),
        (1.1000999999999999, "1100.1"),  # what an older version has stored
        (0.8123456789012345, "812.345679"),
        (1e300, "1e+303"),
    ],
)
def test_seconds_are_shown_in_milliseconds_to_the_nanosecond(seconds: float, spelled: str) -> None:
    assert repr(durations.milliseconds(seconds)) == spelled


@pytest.mark.parametrize("seconds", [None, 1e306, 1.7e308, -1e308])
def test_milliseconds_that_a_double_does_not_hold_are_unknown(seconds: float | None) -> None:
    assert durations.milliseconds(seconds) is None


@pytest.mark.parametrize(
    ("duration", "spelled"),
    [
        (1234.0, "1234"),
        (1.1001, "1.1001"),
        (0.0, "0"),
        (-0.0, "0"),
        (-3.0, "-3"),
        (2.0**53, "9007199254740992"),
        (1e300, "1e+300"),
        (5e-324, "5e-324"),
        (None, "None"),
    ],
)
def test_a_whole_duration_is_an_integer_and_every_other_stays_the_double_it_is(
    duration: float | None, spelled: str
) -> None:
    assert repr(durations.compact(duration)) == spelled


@pytest.mark.parametrize(
    ("parts", "total"), [([0.1, 0.2], 0.3), ([0.1] * 10, 1), ([1, 0.25], 1.25), ([], 0), ([1e16, 0.1, -1e16], 0.1)]
)
def test_a_total_is_the_decimal_sum(parts: list[float], total: float) -> None:
    assert durations.total(parts) == total


@pytest.mark.parametrize(
    ("mean", "spelled"),
    [
        ((0.1 + 0.2) / 2, "0.15"),
        (3 * 1.1001 / 3, "1.1001"),
        (2 / 3, "0.666666666667"),
        (5.0, "5"),
        (1.7976931348623157e308, "1.79769313486e+308"),
        (None, "None"),
    ],
)
def test_a_mean_has_twelve_digits(mean: float | None, spelled: str) -> None:
    assert repr(durations.mean(mean)) == spelled
