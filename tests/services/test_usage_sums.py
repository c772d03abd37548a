"""The sums that are kept of the usage equal a plain computation, whatever has happened to the completions."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from log10_server import store
from log10_server.clock import DAY
from log10_server.db.database import Database
from log10_server.db.thresholds import CommonTags, RollupSizes
from log10_server.db.transaction import Tx
from log10_server.services import completions, rollup, transfer, usage, usage_sums
from log10_server.services.completions import Entry
from log10_server.services.merging import CompletionFields
from log10_server.services.usage import Group, UsageSelection, UsageSums
from log10_server.store.completions import CompletionRow, completion
from log10_server.store.tags import tag
from log10_server.store.usage_sums import PERIODS, UsageSumRow, usage_sum
from log10_server.strict_json import written
from tests.conftest import Organization
from tests.services.test_usage_statistics import ALL, TODAY, grouped, passing, plainly

TAGS = [f"tag {number}" for number in range(6)]
RARE_TAG = "a rare tag"
MODELS = ["gpt-4o", "claude", "unknown", "Zeta"]
DAYS = 150


@pytest.fixture(autouse=True)
def thresholds(database: Database) -> Iterator[None]:
    """Few completions make a tag common, and are covered. The sums of tags are read a few at a time."""
    before = database.thresholds
    database.thresholds = replace(
        before, common_tags=CommonTags(4, 1, 3), rollup=RollupSizes(6, 3), usage_sums_at_once=3
    )
    yield
    database.thresholds = before


class History:
    """Random operations on the completions of an organization."""

    def __init__(self, database: Database, organization: Organization, seed: int) -> None:
        self.database = database
        self.organization_id = organization.id
        self.random = random.Random(seed)
        self.ids: list[str] = []

    def write(self, work: Any) -> Any:
        return self.database.write(self.organization_id, work)

    def fields(self) -> CompletionFields:
        fields: CompletionFields = {}
        chosen = self.random
        if chosen.random() < 0.7:
            fields["tags"] = chosen.sample(TAGS, chosen.randrange(4)) + [RARE_TAG] * (chosen.random() < 0.02)
        if chosen.random() < 0.7:
            fields["status"] = chosen.choice(["started", "finished", "failed"])
        if chosen.random() < 0.7:
            fields["duration"] = chosen.choice([0.1, 0.2, 0.0, 1e-9, 1e300, chosen.random() * 100])
        if chosen.random() < 0.3:
            fields["request"] = written({"model": chosen.choice(MODELS)})
        if chosen.random() < 0.6:
            tokens = {"prompt_tokens": chosen.randrange(1000), "completion_tokens": chosen.choice([1, 2**62])}
            fields["response"] = written({"model": chosen.choice(MODELS), "usage": tokens})
        return fields

    def create(self) -> None:
        entries = [Entry(None, self.fields()) for _ in range(self.random.randrange(1, 4))]
        self.ids += [row.id for row in self.write(lambda tx: completions.record(tx, entries))]

    def merge(self) -> None:
        entries = [Entry(completion_id, self.fields()) for completion_id in self.random.choices(self.ids, k=2)]
        self.write(lambda tx: completions.record(tx, entries))

    def import_old(self) -> None:
        at = (TODAY + self.random.randrange(DAYS)) * DAY + self.random.choice([0, 1, DAY // 2, DAY - 1])
        new_id = f"imported {self.random.random()}"
        ids = [new_id, self.random.choice(self.ids)]
        entries = [Entry(completion_id, self.fields(), at, fills_gaps=True) for completion_id in ids]
        self.write(lambda tx: transfer.import_completions(tx, entries))
        self.ids.append(new_id)

    def delete(self) -> None:
        completion_id = self.ids.pop(self.random.randrange(len(self.ids)))
        self.write(lambda tx: completions.delete(tx, completion_id))

    def advance(self) -> None:
        self.write(rollup.advance)

    def step(self) -> None:
        operations = [self.create] * 3 + [self.import_old] * 5 + [self.merge] * 4 + [self.advance] * 3
        self.random.choice(operations + [self.delete] * 2 if self.ids else [self.create])()


def stored_rows(tx: Tx) -> list[CompletionRow]:
    return [CompletionRow._make(row) for row in tx.connection.execute(tx.rows(completion))]


def assert_same(actual: UsageSums, expected: UsageSums) -> None:
    mean, p95 = (None if value is None else value for value in (expected.mean, expected.p95))
    assert actual._replace(mean=None, p95=None) == expected._replace(mean=None, p95=None)
    assert actual.mean == (None if mean is None else pytest.approx(mean, rel=1e-12))
    assert actual.p95 == (None if p95 is None else pytest.approx(p95, rel=0.01, abs=0))


SELECTIONS = [
    UsageSelection(),
    UsageSelection(created_from=(TODAY + 3) * DAY, created_to=(TODAY + 120) * DAY - 1),
    UsageSelection(created_from=(TODAY + 3) * DAY + 1, created_to=(TODAY + 90) * DAY),
    UsageSelection(created_from=(TODAY + 60) * DAY + 5),
    UsageSelection(created_from=(TODAY + 5) * DAY + 5, created_to=(TODAY + 5) * DAY + DAY // 2),
    UsageSelection(created_to=(TODAY + 140) * DAY + DAY // 2),
    UsageSelection(created_from=(TODAY + DAYS) * DAY),
]


FILTERS: list[dict[str, Any]] = [
    {},
    {"tags": TAGS[:1]},
    {"model": "gpt-4o"},
    {"tags": TAGS[1:2], "model": "claude"},
    {"tags": TAGS[1:3], "model": "unknown"},
    {"tags": [RARE_TAG]},
]
GROUPS: list[Group | None] = [None, "day", "model", "status", "tag"]


@pytest.mark.parametrize("seed", range(2))
def test_usage_equals_a_plain_computation_after_any_operations(
    database: Database, organization: Organization, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(database, organization, seed)
    for number in range(1, 301):
        history.step()
        if number % 30 == 0:
            with database.reading() as connection:
                rows = stored_rows(database.tx(connection, organization.id))
            every = [
                selection._replace(group_by=group_by, **filters)
                for selection in SELECTIONS
                for filters in FILTERS
                for group_by in GROUPS
            ]
            for selection in history.random.sample(every, 40):
                monkeypatch.setattr(usage, "MAX_CALLS_FOR_RARE_TAGS", history.random.choice([0, 10_000]))
                compare(database, organization, rows, selection)
            compare_days(database, organization, rows)


def compare(
    database: Database, organization: Organization, rows: list[CompletionRow], selection: UsageSelection
) -> None:
    expected = passing(rows, selection)
    with database.reading() as connection:
        tx = database.tx(connection, organization.id)
        groups, total = usage.sum_usage(tx, selection, ALL)
        tag_ids = store.tags.find_keys(tx, [*TAGS, RARE_TAG])
        common = set(tx.connection.scalars(tx.rows(tag, "id").where(tag.c.is_common)))
    assert_same(total, plainly(expected))
    if selection.group_by is None:
        assert groups == [total]
        return
    expected_groups = grouped(expected, selection.group_by)
    if selection.group_by == "tag" and not usage.MAX_CALLS_FOR_RARE_TAGS:
        expected_groups = [group for group in expected_groups if tag_ids[str(group.group)] in common]
    assert [group.group for group in groups] == [group.group for group in expected_groups]
    for group, expected_group in zip(groups, expected_groups, strict=True):
        assert_same(group, expected_group)


def compare_days(database: Database, organization: Organization, rows: list[CompletionRow]) -> None:
    for first_day, last_day, tags in ((None, None, []), (TODAY + 7, TODAY + 80, []), (None, TODAY + 80, TAGS[:1])):
        with database.reading() as connection:
            tx = database.tx(connection, organization.id)
            days = usage.tokens_per_model_per_day(tx, tags, first_day, last_day)
        expected: dict[tuple[int, str], list[int]] = {}
        for row in passing(rows, UsageSelection(tags=tags)):
            day = row.created_at // DAY
            if (first_day is None or first_day <= day) and (last_day is None or day <= last_day):
                counts = expected.setdefault((-day, row.model or "unknown"), [0, 0, 0])
                for position, count in enumerate((1, row.input_tokens or 0, row.output_tokens or 0)):
                    counts[position] += count
        assert [(-day.day, day.model, list(day[2:])) for day in days] == [
            (*key, counts) for key, counts in sorted(expected.items())
        ]


def test_sums_are_gone_when_all_completions_are(database: Database, organization: Organization) -> None:
    history = History(database, organization, 7)
    for _ in range(100):
        history.step()
    while history.write(rollup.advance):
        pass
    assert kept_sums(database)

    while history.ids:
        history.delete()

    assert not kept_sums(database)


def kept_sums(database: Database) -> list[UsageSumRow]:
    with database.reading() as connection:
        return sorted(UsageSumRow._make(row) for row in connection.execute(select(usage_sum)))


def test_a_repeated_change_that_alters_no_figure_leaves_the_sums_as_they_are(
    database: Database, organization: Organization
) -> None:
    """Doubles that are added and taken back again and again would drift."""
    entries = [Entry(f"c{number}", {"duration": 0.1 * number, "tags": TAGS}) for number in range(20)]
    database.write(organization.id, lambda tx: completions.record(tx, entries))
    while database.write(organization.id, rollup.advance):
        pass
    before = kept_sums(database)

    for duration in (1e17, 0.3, 1e-17, 0.1):
        entry = Entry("c1", {"duration": duration})
        database.write(organization.id, lambda tx, entry=entry: completions.record(tx, [entry]))  # type: ignore[misc]

    assert before
    assert [(*row[:-1], usage_sums.decode(row.sums)) for row in kept_sums(database)] == [
        (*row[:-1], usage_sums.decode(row.sums)) for row in before
    ]


@pytest.mark.parametrize(("begin", "end"), [(0, 64), (1, 64), (5, 300), (-70, 9), (3, 3), (7, 8), (8, 16)])
def test_periods_cover_each_day_once(begin: int, end: int) -> None:
    ranges = list(usage_sums.periods_between(begin, end))

    days = [
        day
        for periods in ranges
        for first in range(periods.begin, periods.end, periods.days)
        for day in range(first, first + periods.days)
    ]
    assert sorted(days) == list(range(begin, end))
    assert all(periods.begin % periods.days == 0 for periods in ranges)
    assert len(ranges) <= 2 * len(PERIODS) - 1


def test_a_year_takes_few_periods() -> None:
    counts = [
        sum((periods.end - periods.begin) // periods.days for periods in usage_sums.periods_between(begin, begin + 365))
        for begin in range(64)
    ]

    assert max(counts) <= 33
