"""The inclusive ends of a range of time, as queries spell them."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from log10_server.clock import utc
from log10_server.web.http.fields import RangeEnd, RangeStart

START: TypeAdapter[int] = TypeAdapter(RangeStart)
END: TypeAdapter[int] = TypeAdapter(RangeEnd)


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize("date", ["2026-01-31", "20260131", "2026-W05-6", "2026W056", " 2026-01-31 "])
def test_a_date_begins_with_its_first_instant_and_ends_with_its_last_in_utc(date: str) -> None:
    assert utc(START.validate_python(date)) == at(2026, 1, 31)
    assert utc(END.validate_python(date)) == at(2026, 1, 31, 23, 59, 59, 999_999)


@pytest.mark.parametrize("date", ["2024-02-29", "1969-12-31", "0001-01-01", "9999-12-31"])
def test_every_day_of_the_calendar_is_as_long_as_a_day(date: str) -> None:
    assert utc(END.validate_python(date)).isoformat() == f"{date}T23:59:59.999999+00:00"


@pytest.mark.parametrize(
    ("time", "instant"),
    [
        ("2026-01-31T00:00", at(2026, 1, 31)),
        ("2026-01-31T00", at(2026, 1, 31)),
        ("2026-01-31 00:00:00", at(2026, 1, 31)),
        ("2026-01-31T00:00Z", at(2026, 1, 31)),
        ("2026-01-31T00:00+02:00", at(2026, 1, 30, 22)),
        ("2026-01-31T08:00:00.000001", at(2026, 1, 31, 8, 0, 0, 1)),
        ("20260131T080000Z", at(2026, 1, 31, 8)),
        ("2026-W05-6T08:00", at(2026, 1, 31, 8)),
        ("2026-01-31T08:00:00 02:00", at(2026, 1, 31, 6)),
        ("2026-01-31T08:00:00.5 0530", at(2026, 1, 31, 2, 30, 0, 500_000)),
    ],
)
def test_a_date_with_a_time_is_that_instant_at_either_end(time: str, instant: datetime) -> None:
    assert utc(START.validate_python(time)) == instant
    assert utc(END.validate_python(time)) == instant


@pytest.mark.parametrize(
    "text",
    [
        "2026",
        "2026-01",
        "2026-W05",
        "2026W05",
        "2026-031",
        "2026-02-30",
        "2026-01-31T",
        "2026-01-31Z",
        "2026-01-31+02:00",
        "2026-01-31_08:00",
        "2026-01-31X08:00",
        "2026-01-31T24:01",
        "\u0662026-01-31",
        "2026-01-31T08:00:00 +00:00x",
        "",
    ],
)
def test_what_names_no_day_or_no_time_can_not_be_read(text: str) -> None:
    """Python by itself reads a week without a day as its Monday, and a date with a time zone as a time."""
    for end in (START, END):
        with pytest.raises(ValidationError, match="Must be a date or a time in ISO 8601"):
            end.validate_python(text)
