"""What is known of a completion after its rows, whatever the order in which they arrive (docs/api.md, "Completions")."""

from functools import reduce
from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from log10_server.services.merging import FINAL, AllFields, merged

OPENING: AllFields = {
    "status": "started",
    "request": '{"a":1}',
    "tags": ["a"],
    "session_id": "s",
    "kind": "chat",
}
CLOSING: AllFields = {"status": "finished", "response": '{"b":1}', "duration": 1.5, "tags": ["a"]}
FAILING: AllFields = {"status": "failed", "failure_kind": "Timeout", "failure_reason": "too slow"}
BARE: AllFields = {"status": "finished"}
WHOLE: AllFields = {**OPENING, **CLOSING}


def after(*rows: AllFields) -> AllFields:
    nothing: AllFields = {}
    return reduce(merged, rows, nothing)


@pytest.mark.parametrize("closing", [CLOSING, FAILING, BARE, WHOLE])
@pytest.mark.parametrize("length", [2, 3, 4, 5])
def test_one_opening_and_one_closing_row_give_the_same_in_any_order_and_repetition(
    closing: AllFields, length: int
) -> None:
    for rows in product([OPENING, closing], repeat=length):
        if OPENING in rows and closing in rows:
            assert after(*rows) == {**OPENING, **closing}


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_late_start_fills_gaps_only(status: str) -> None:
    late: AllFields = {"status": "started", "request": "{}", "response": '{"late":1}', "duration": 9.0}

    result = after({"status": status, "response": '{"b":1}', "duration": 1.5}, late)

    assert result == {"status": status, "request": "{}", "response": '{"b":1}', "duration": 1.5}


def test_between_two_closing_rows_the_later_wins_field_by_field() -> None:
    result = after(CLOSING, {"status": "failed", "response": '{"c":1}', "failure_kind": "Late"})

    assert result == {
        "status": "failed",
        "response": '{"c":1}',
        "failure_kind": "Late",
        "duration": 1.5,
        "tags": ["a"],
    }


def test_a_row_without_a_status_replaces_even_after_the_end() -> None:
    assert after(CLOSING, {"duration": 2.0})["duration"] == 2.0


def test_a_second_start_before_the_end_replaces() -> None:
    assert after(OPENING, {"status": "started", "request": '{"a":2}'})["request"] == '{"a":2}'


def test_no_tags_are_a_value_that_replaces() -> None:
    assert after(OPENING, {"status": "finished", "tags": []})["tags"] == []


def test_no_tags_are_a_value_that_a_late_start_does_not_fill() -> None:
    assert after({"status": "finished", "tags": []}, OPENING)["tags"] == []


def test_a_start_after_a_row_without_status_says_the_status() -> None:
    assert after({"response": "{}"}, {"status": "started"})["status"] == "started"


@pytest.mark.parametrize("rows", [*permutations([OPENING, CLOSING, {"kind": "prompt", "status": "finished"}])])
def test_two_closing_rows_on_different_fields_and_an_opening_one_give_the_same_in_any_order(
    rows: tuple[AllFields, ...],
) -> None:
    assert after(*rows) == {**WHOLE, "kind": "prompt"}


def test_what_is_merged_is_left_as_it_was() -> None:
    stored: AllFields = {"status": "started"}
    incoming: AllFields = {"status": "finished"}

    merged(stored, incoming)

    assert (stored, incoming) == ({"status": "started"}, {"status": "finished"})


fields = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["started", "finished", "failed"]),
        "duration": st.floats(0, 5),
        "tags": st.lists(st.sampled_from("ab"), max_size=2),
        "response": st.sampled_from(["{}", "[]"]),
    },
)


@given(stored=fields, incoming=fields)
def test_every_field_comes_from_one_of_both_and_none_is_lost(stored: AllFields, incoming: AllFields) -> None:
    result = merged(stored, incoming)

    assert result.keys() == stored.keys() | incoming.keys()
    assert all(value in (stored.get(name), incoming.get(name)) for name, value in result.items())


@given(stored=fields, incoming=fields)
def test_the_same_row_again_changes_nothing(stored: AllFields, incoming: AllFields) -> None:
    once = merged(stored, incoming)

    assert merged(once, incoming) == once
