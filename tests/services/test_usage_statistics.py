"""Usage against a plain computation in Python, over completions that hold everything a row can hold."""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from log10_server import store
from log10_server.clock import DAY
from log10_server.db.database import Database
from log10_server.db.transaction import Tx
from log10_server.services import usage
from log10_server.services.usage import DailyTokens, Group, UsageSelection, UsageSums
from log10_server.store.completion_tags import CompletionTagRow
from log10_server.store.completions import CompletionRow
from log10_server.strict_json import value, written
from tests.conftest import new_organization

ALL = 1000
TODAY = 19_838  # 2024-04-25

MODELS = [None, "gpt-4o", "claude-3", "Zeta", "alpha", "unknown", "émile", "🙂"]
TAGS = ["a", "b", "B", "é", "x y", "[1/2]"]
TOKENS = [None, 0, 1, 7, 2**32 - 1, 2**32, 2**53, 2**53 + 1, 2**63 - 1]
DURATIONS = [None, 0.0, 0.25, 1.5, 1.5, 1e-300, 3600.0, -1.0]


def keep(tx: Tx, *rows: CompletionRow) -> None:
    """Store completions as they are; the API can't set when they began."""
    store.completions.add(tx, rows)
    keys = store.tags.ensure(tx, {tag for row in rows for tag in tags_of(row)})
    links = [
        CompletionTagRow(row.organization_id, row.id, keys[t], row.created_at) for row in rows for t in tags_of(row)
    ]
    store.completion_tags.add_tags(tx, links)


def row(
    tx: Tx, completion_id: str, created_at: int = TODAY * DAY, tags: Iterable[str] = (), **fields: Any
) -> CompletionRow:
    nothing = dict.fromkeys(CompletionRow._fields)
    required = {
        "organization_id": tx.organization_id,
        "id": completion_id,
        "created_at": created_at,
        "tags": written(list(tags)),
    }
    return CompletionRow(**{**nothing, **required, **fields})


def rows_at_random(tx: Tx, seed: int, many: int) -> list[CompletionRow]:
    chosen = random.Random(seed)
    instants = [day * DAY + off for day in range(TODAY, TODAY + 4) for off in (0, 1, DAY // 2, DAY - 1)]
    return [
        row(
            tx,
            f"completion-{number:03}",
            chosen.choice(instants),
            chosen.sample(TAGS, chosen.randrange(4)),
            model=chosen.choice(MODELS),
            status=chosen.choice([None, "started", "finished", "failed"]),
            response=chosen.choice([None, "{}"]),
            input_tokens=chosen.choice(TOKENS),
            output_tokens=chosen.choice(TOKENS),
            duration=chosen.choice([*DURATIONS, chosen.random() * 10, chosen.random()]),
        )
        for number in range(many)
    ]


def tags_of(row: CompletionRow) -> list[str]:
    return list(value(row.tags or "[]"))


def status_of(row: CompletionRow) -> str:
    return row.status or ("started" if row.response is None else "finished")


KEYS: dict[Group, Callable[[CompletionRow], list[Any]]] = {
    "day": lambda row: [row.created_at // DAY],
    "model": lambda row: [row.model or "unknown"],
    "tag": tags_of,
    "status": lambda row: [status_of(row)],
}


def plainly(rows: list[CompletionRow], group: Any = None) -> UsageSums:
    durations = sorted(row.duration for row in rows if row.duration is not None)
    return UsageSums(
        group=group,
        calls=len(rows),
        finished=sum(status_of(row) == "finished" for row in rows),
        failed=sum(status_of(row) == "failed" for row in rows),
        unknown=sum(row.input_tokens is None or row.output_tokens is None for row in rows),
        input_tokens=sum(row.input_tokens or 0 for row in rows),
        output_tokens=sum(row.output_tokens or 0 for row in rows),
        mean=math.fsum(durations) / len(durations) if durations else None,
        p95=durations[math.ceil(len(durations) * 95 / 100) - 1] if durations else None,
    )


def grouped(rows: list[CompletionRow], by: Group) -> list[UsageSums]:
    members = defaultdict(list)
    for row in rows:
        for key in KEYS[by](row):
            members[key].append(row)
    sums = [plainly(group, key) for key, group in members.items()]
    if by == "day":
        return sorted(sums, key=lambda sums: -int(sums.group or 0))
    return sorted(sums, key=lambda sums: (-sums.calls, sums.group))


def passing(rows: list[CompletionRow], selection: UsageSelection) -> list[CompletionRow]:
    return [
        row
        for row in rows
        if set(selection.tags) <= set(tags_of(row))
        and (selection.model is None or selection.model == (row.model or "unknown"))
        and (selection.created_from is None or selection.created_from <= row.created_at)
        and (selection.created_to is None or row.created_at <= selection.created_to)
    ]


def same(actual: UsageSums, expected: UsageSums) -> bool:
    """Sums of doubles depend on their order in the last digits; all else is exact."""
    mean = None if expected.mean is None else pytest.approx(expected.mean, rel=1e-12, abs=1e-12)
    return actual._replace(mean=None) == expected._replace(mean=None) and actual.mean == mean


QUESTIONS = [
    UsageSelection(),
    UsageSelection(tags=("a",)),
    UsageSelection(tags=("a", "é", "a")),
    UsageSelection(tags=("a", "no such tag")),
    UsageSelection(model="gpt-4o"),
    UsageSelection(model="unknown"),
    UsageSelection(model="no such model"),
    UsageSelection(created_from=(TODAY + 1) * DAY),
    UsageSelection(created_to=(TODAY + 1) * DAY),
    UsageSelection(created_from=(TODAY + 1) * DAY, created_to=(TODAY + 2) * DAY - 1, tags=("b",), model="claude-3"),
    UsageSelection(created_from=5, created_to=4),
]


@pytest.mark.parametrize("many", [0, 1, 300])
def test_usage_is_what_a_plain_computation_gives(tx: Tx, many: int, subtests: pytest.Subtests) -> None:
    rows = rows_at_random(tx, many, many)
    keep(tx, *rows)

    for by in [None, *KEYS]:
        with subtests.test(by=by):
            for question in QUESTIONS:
                selection = question._replace(group_by=by)
                groups, total = usage.sum_usage(tx, selection, ALL)

                selected = passing(rows, selection)
                expected = [plainly(selected)] if by is None else grouped(selected, by)
                assert same(total, plainly(selected)), selection
                assert [sums.group for sums in groups] == [sums.group for sums in expected], selection
                assert all(map(same, groups, expected)), selection


def test_tokens_per_model_per_day_are_what_a_plain_computation_gives(tx: Tx) -> None:
    rows = rows_at_random(tx, 1, 300)
    keep(tx, *rows)

    for tags, first, last in [
        ([], None, None),
        (["a"], None, None),
        (["a", "b"], TODAY, None),
        (["no such tag"], None, None),
        ([], None, TODAY),
        ([], TODAY + 1, TODAY + 1),
        ([], TODAY + 2, TODAY + 1),
    ]:
        selection = UsageSelection(
            tags=tags,
            created_from=None if first is None else first * DAY,
            created_to=None if last is None else (last + 1) * DAY - 1,
        )
        members = defaultdict(list)
        for selected in passing(rows, selection):
            members[-(selected.created_at // DAY), selected.model or "unknown"].append(selected)
        expected = [
            DailyTokens(
                -day,
                model,
                len(group),
                sum(row.input_tokens or 0 for row in group),
                sum(row.output_tokens or 0 for row in group),
            )
            for (day, model), group in sorted(members.items())
        ]

        assert usage.tokens_per_model_per_day(tx, tags, first, last) == expected


@pytest.mark.parametrize("many", [1, 19, 20, 21, 40, 41])
def test_the_95th_percentile_is_of_the_nearest_rank(tx: Tx, many: int) -> None:
    keep(tx, *(row(tx, f"{place}", duration=float(place)) for place in range(1, many + 1)))

    (group,), total = usage.sum_usage(tx, UsageSelection("day"), ALL)

    assert group.p95 == total.p95 == math.ceil(many * 95 / 100)


def test_a_day_begins_and_ends_at_midnight_utc(tx: Tx) -> None:
    instants = [TODAY * DAY - 1, TODAY * DAY, (TODAY + 1) * DAY - 1, (TODAY + 1) * DAY]
    keep(tx, *(row(tx, f"{at}", at) for at in instants))

    groups, _ = usage.sum_usage(tx, UsageSelection("day"), ALL)

    assert [(sums.group, sums.calls) for sums in groups] == [(TODAY + 1, 1), (TODAY, 2), (TODAY - 1, 1)]
    assert [day.calls for day in usage.tokens_per_model_per_day(tx, (), TODAY, TODAY)] == [2]


def test_token_sums_stay_exact_however_large(tx: Tx) -> None:
    most = 2**63 - 1
    keep(tx, *(row(tx, f"{place}", input_tokens=most, output_tokens=2**53 + place) for place in range(20)))

    (group,), total = usage.sum_usage(tx, UsageSelection("model"), ALL)

    assert group.input_tokens == total.input_tokens == 20 * most
    assert group.output_tokens == total.output_tokens == sum(2**53 + place for place in range(20))


@pytest.mark.parametrize(
    "durations",
    [[1.7e308, 1.7e308, 1.7e308], [1.7e308, -1.7e308], [1e200, 2e200], [5e-324, 5e-324], [1.7e308, 5e-324, 1.0]],
)
def test_durations_at_the_ends_of_a_double_have_a_mean(tx: Tx, durations: list[float]) -> None:
    """Postgres refuses a sum that overflows, and `avg` of squares that do; SQLite gives infinity, which is no JSON."""
    keep(tx, *(row(tx, f"{place}", duration=seconds) for place, seconds in enumerate(durations)))

    _, total = usage.sum_usage(tx, UsageSelection("day"), ALL)

    assert total.mean == pytest.approx(math.fsum(seconds / len(durations) for seconds in durations))
    assert total.p95 == max(durations)


def test_only_so_many_groups_are_given_and_the_total_counts_all(tx: Tx) -> None:
    keep(tx, *(row(tx, f"{place}", model=f"model-{place % 3}") for place in range(8)))

    groups, total = usage.sum_usage(tx, UsageSelection("model"), 2)

    assert [(sums.group, sums.calls) for sums in groups] == [("model-0", 3), ("model-1", 3)]
    assert total.calls == 8


def test_a_completion_counts_under_each_of_its_tags_and_once_in_all(tx: Tx) -> None:
    keep(tx, row(tx, "1", tags=["a", "b"]), row(tx, "2", tags=["a"]), row(tx, "3"))

    groups, total = usage.sum_usage(tx, UsageSelection("tag"), ALL)

    assert [(sums.group, sums.calls) for sums in groups] == [("a", 2), ("b", 1)]
    assert total.calls == 3


@pytest.mark.parametrize(("finished", "failed", "expected"), [(3, 1, 0.75), (0, 2, 0.0), (2, 0, 1.0), (0, 0, None)])
def test_what_has_only_started_does_not_count_in_the_rate(
    tx: Tx, finished: int, failed: int, expected: float | None
) -> None:
    statuses = ["finished"] * finished + ["failed"] * failed + ["started"]
    keep(tx, *(row(tx, f"{place}", status=status) for place, status in enumerate(statuses)))

    _, total = usage.sum_usage(tx, UsageSelection(), ALL)

    assert usage.success_rate(total) == expected


def test_another_organization_counts_nothing_of_this_one(database: Database, tx: Tx) -> None:
    keep(tx, row(tx, "1", tags=["a"], model="m", input_tokens=1, output_tokens=1, duration=1.0))
    tx.connection.commit()
    other = new_organization(database)

    with database.writing() as connection:
        other_tx = database.tx(connection, other.id)
        for by in (None, *KEYS):
            for tags in ((), ("a",)):
                groups, total = usage.sum_usage(other_tx, UsageSelection(by, tags), ALL)
                assert total == UsageSums(None, 0, 0, 0, 0, 0, 0, None, None)
                assert groups == ([] if by else [total])
        assert usage.tokens_per_model_per_day(other_tx, (), None, None) == []
        assert usage.tokens_per_model_per_day(other_tx, ("a",), None, None) == []


def test_two_organizations_with_the_same_ids_and_tags_do_not_mix(database: Database, tx: Tx) -> None:
    keep(tx, *(row(tx, f"{place}", tags=["a"], duration=100.0, input_tokens=5) for place in range(3)))
    tx.connection.commit()
    other = new_organization(database)

    with database.writing() as connection:
        other_tx = database.tx(connection, other.id)
        keep(other_tx, row(other_tx, "1", tags=["a"], duration=1.0, input_tokens=7))
        groups, total = usage.sum_usage(other_tx, UsageSelection("tag", ("a",)), ALL)

    assert groups == [total._replace(group="a")]
    assert (total.calls, total.input_tokens, total.mean, total.p95) == (1, 7, 1.0, 1.0)
