"""When a figure of `make bench-scale` has reached its goal."""

import math

import pytest

from benchmarks.figures import FLAT, STEADY, Figures, Goal, at_least, at_most, cells


@pytest.mark.parametrize(
    ("goal", "at", "met"),
    [
        (FLAT, {10_000: 4.0, 1_000_000: 8.0}, True),  # 1.5 x 4 + 2
        (FLAT, {10_000: 4.0, 1_000_000: 8.1}, False),
        (FLAT, {10_000: 4.0, 100_000: 100.0, 1_000_000: 4.0}, True),
        (FLAT, {10_000: 4.0}, None),
        (STEADY, {10_000: 30.0, 1_000_000: 20.0}, True),
        (STEADY, {10_000: 30.0, 1_000_000: 19.0}, False),
        (at_most(100), {10_000: 100.0, 1_000_000: 99.0}, True),
        (at_most(100), {10_000: 101.0, 1_000_000: 99.0}, False),
        (at_least(0.5), {10_000: 0.5}, True),
        (at_least(0.5), {10_000: 0.7, 1_000_000: 0.4}, False),
        (FLAT, {10_000: math.inf}, False),
    ],
)
def test_a_goal_is_met_or_missed(goal: Goal, at: dict[int, float], met: bool | None) -> None:
    assert goal.is_met(at) is met


def test_the_table_has_a_column_for_each_size_that_was_measured() -> None:
    figures = Figures("sqlite")
    figures.note("request", "list", 10_000, 1.5, "ms", FLAT)
    figures.note("request", "list", 1_000_000, 9.0, "ms", FLAT, "5 calls")
    figures.note("fairness", "refused", 1_000_000, 0, "", at_most(0))

    head, *rows = cells(figures.all())

    assert head[2:4] == ["10 000", "1 000 000"]
    assert rows[0][2:] == ["1.50", "9.00", "ms", "≤ 1.5 x + 2 ms", "missed", "5 calls"]
    assert rows[1][2:] == ["-", "0.00", "", "≤ 0", "met", ""]
