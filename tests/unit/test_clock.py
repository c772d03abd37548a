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


def test_each_instant_is_given_once_and_later_than_the_one_before() -> None:
    clock = Clock()

    instants = [clock.now() for _ in range(20_000)]

    assert instants == sorted(set(instants))


def test_several_instants_are_as_many_that_were_asked_for_one_by_one() -> None:
    clock = Clock()

    instants = [at for count in (1, 500, 0, 3) for at in [clock.now(), *clock.several(count), clock.now()]]

    assert instants == sorted(set(instants))
    assert len(instants) == 512


def test_threads_never_get_the_same_instant() -> None:
    clock = Clock()
    given: list[int] = []

    threads = [threading.Thread(target=lambda: given.extend(clock.now() for _ in range(2000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(given)) == 8000


def test_an_instant_is_microseconds_since_1970() -> None:
    before = time.time_ns() // 1000

    now = Clock().now()

    assert before <= now <= time.time_ns() // 1000 + 1


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
