"""Instants, and the ids that carry them."""

import threading
import time
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from log10_server.clock import Clock, microseconds, utc, uuid7

YEAR_9999 = 253_402_300_799_999_999


class SystemClock:
    """A system clock that a test sets by hand. It stands still until then."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self) -> int:
        return round(self.seconds * 1_000_000) * 1000


def test_instants_are_strictly_increasing() -> None:
    clock = Clock()

    instants = [clock.now() for _ in range(20_000)]

    assert instants == sorted(set(instants))


def test_several_instants_are_in_order_with_those_taken_before_and_after() -> None:
    clock = Clock()

    instants = [at for count in (1, 500, 0, 3) for at in [clock.now(), *clock.next_instants(count), clock.now()]]

    assert instants == sorted(set(instants))
    assert len(instants) == 512


def test_threads_never_get_the_same_instant() -> None:
    clock = Clock()
    instants: list[int] = []

    threads = [threading.Thread(target=lambda: instants.extend(clock.now() for _ in range(2000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(instants)) == 8000


def test_an_instant_is_microseconds_since_1970() -> None:
    before = time.time_ns() // 1000

    now = Clock().now()

    assert before <= now <= time.time_ns() // 1000 + 1


@pytest.mark.parametrize("step", [0.000_001, 0.5, 1])
def test_a_step_back_of_up_to_a_second_is_absorbed(step: float) -> None:
    system = SystemClock(1000)
    clock = Clock(system)

    before = clock.now()
    system.seconds -= step
    after = [clock.now(), *clock.next_instants(2), clock.now()]

    assert [before, *after] == list(range(1_000_000_000, 1_000_000_005))


@pytest.mark.parametrize("step", [1.000_001, 2, 3600])
def test_after_a_larger_step_back_instants_continue_from_the_clock(step: float) -> None:
    system = SystemClock(10_000)
    clock = Clock(system)

    clock.now()
    system.seconds -= step
    after = [clock.now(), *clock.next_instants(2), clock.now()]

    restart = round((10_000 - step) * 1_000_000)
    assert after == list(range(restart, restart + 4))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_larger_step_back_is_seen_by_several_instants_too(count: int) -> None:
    system = SystemClock(10_000)
    clock = Clock(system)

    clock.now()
    system.seconds = 5000
    instants = [*clock.next_instants(count), clock.now()]

    assert instants == list(range(5_000_000_000, 5_000_000_001 + count))


def test_small_steps_back_are_not_absorbed_once_they_add_up_to_more_than_a_second() -> None:
    system = SystemClock(1000)
    clock = Clock(system)

    clock.now()
    instants = []
    for _ in range(3):
        system.seconds -= 0.4
        instants.append(clock.now())

    assert instants == [1_000_000_001, 1_000_000_002, 998_800_000]


def test_many_instants_at_once_are_not_taken_for_a_step_back_of_the_clock() -> None:
    system = SystemClock(1000)
    clock = Clock(system)

    many = clock.next_instants(5_000_000)  # five seconds ahead of the system clock
    system.seconds += 0.001
    later = clock.now()

    assert later == many[-1] + 1


def test_instants_follow_the_clock_again_once_it_has_passed_them() -> None:
    system = SystemClock(1000)
    clock = Clock(system)

    clock.next_instants(5)
    system.seconds += 1

    assert clock.now() == 1_001_000_000


@given(st.integers(0, YEAR_9999))
def test_an_id_is_a_version_7_uuid_of_its_millisecond(at: int) -> None:
    made = uuid.UUID(uuid7(at))

    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == at // 1000


@given(st.integers(0, YEAR_9999), st.integers(1, 10**7))
def test_ids_sort_as_they_were_made(at: int, later: int) -> None:
    assert uuid7(at) < uuid7(at + later)


def test_ids_of_one_instant_differ() -> None:
    assert len({uuid7(1) for _ in range(1000)}) == 1000


@given(st.integers(-62_135_596_800_000_000, YEAR_9999))
def test_an_instant_survives_being_a_datetime(at: int) -> None:
    assert microseconds(utc(at)) == at
    assert utc(at).tzinfo == UTC


@pytest.mark.parametrize(
    ("moment", "at"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1970, 1, 1), 0),
        (datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 0),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999), -1),
        (datetime(2026, 1, 31, 8, 0, 0, 123_456), 1_769_846_400_123_456),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999), YEAR_9999),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23))), -62_135_596_800_000_000 - 23 * 3600 * 10**6),
    ],
)
def test_a_moment_without_a_zone_is_utc_and_one_with_a_zone_is_itself(moment: datetime, at: int) -> None:
    assert microseconds(moment) == at


def test_keys_stay_unique_when_the_clock_steps_back() -> None:
    """The keys of tags are made of instants, and instants are given again after a step."""
    readings = iter([5_000_000_000, 1_000_000_000, 1_000_000_000, 6_000_000_000, 6_000_000_000])
    clock = Clock(lambda: next(readings))

    keys = [clock.new_key() for _ in range(5)]

    assert keys == sorted(set(keys))
