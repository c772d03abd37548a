"""Sums that parts can be taken back from, and the sketch of durations."""

import math
from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from log10_server.services.figures import Figures, percentile_95, total_seconds

durations = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60)


def figures_of(values: list[float]) -> Figures:
    figures = Figures()
    for value in values:
        figures.add_call(None, None, value)
    return figures


@given(durations)
def test_the_percentile_of_a_sketch_differs_by_at_most_one_percent(values: list[float]) -> None:
    exact = sorted(values)[math.ceil(len(values) * 95 / 100) - 1]

    sketched = percentile_95(figures_of(values).durations, [])

    assert sketched is not None
    assert math.isclose(sketched, exact, rel_tol=0.01, abs_tol=1e-320)  # the smallest doubles have too few digits


@given(durations)
def test_without_a_sketch_the_percentile_is_exact(values: list[float]) -> None:
    assert percentile_95({}, values) == sorted(values)[math.ceil(len(values) * 95 / 100) - 1]


def test_without_durations_there_is_no_percentile() -> None:
    assert percentile_95({}, []) is None


@given(durations, durations)
def test_taking_back_what_was_added_leaves_exactly_what_was_there(kept: list[float], taken_back: list[float]) -> None:
    figures = figures_of(kept)
    for value in taken_back:
        figures.add_call(2**63 - 1, None, value)
    for value in taken_back:
        figures.add_call(2**63 - 1, None, value, -1)
    figures.drop_empty_buckets()

    assert figures == figures_of(kept)


def test_the_sum_of_durations_is_exact() -> None:
    figures = figures_of([0.1, 0.2])
    figures.add(figures_of([1e300, 1e-300]))
    figures.add_call(None, None, 1e300, -1)

    assert total_seconds(figures, [0.3]) == Decimal("0.6" + "0" * 298 + "1")


@given(durations)
def test_figures_can_be_stored_as_json(values: list[float]) -> None:
    figures = figures_of(values)
    figures.input_tokens = 2**90

    assert msgspec.json.decode(msgspec.json.encode(figures), type=Figures) == figures
