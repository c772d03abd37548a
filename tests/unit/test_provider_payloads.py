"""What is taken out of payloads: the model and the token counts, whatever shape a provider or a program gives them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from log10_server.services.provider_payloads import derive

HUGE = "1" * 5000


def counts(usage: Any) -> tuple[Any, Any]:
    """The input and output tokens of a response with this usage, which is JSON text or a value."""
    text = usage if isinstance(usage, str) else json.dumps(usage)
    found = derive(None, f'{{"usage":{text}}}')
    return found.get("input_tokens"), found.get("output_tokens")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}, (9, 3)),
        ({"input_tokens": 9, "output_tokens": 3}, (9, 3)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, (0, 0)),
        ({"prompt_tokens": 2**63 - 1, "completion_tokens": 2**62}, (2**63 - 1, 2**62)),
        ({"prompt_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 1}}, (9, None)),
    ],
)
def test_the_counts_of_both_providers_are_found(usage: dict[str, Any], expected: tuple[int, int | None]) -> None:
    assert counts(usage) == expected


@pytest.mark.parametrize(
    "count", ["-1", "1.0", "1.5", "true", '"9"', "null", "[]", "{}", "1e3", "1e400", str(2**63), str(10**30), HUGE]
)
def test_what_is_no_usable_count_is_unknown_and_hides_nothing_else(count: str) -> None:
    found = derive(None, f'{{"model":"m","usage":{{"prompt_tokens":{count},"completion_tokens":3}}}}')

    assert found == {"model": "m", "output_tokens": 3}


def test_a_negative_placeholder_gives_way_to_the_other_name() -> None:
    assert counts({"prompt_tokens": -1, "input_tokens": 5}) == (5, None)


@pytest.mark.parametrize("usage", ["null", "[]", '"x"', "1", "true", "{}", HUGE, "[[{}]]"])
def test_a_usage_of_another_shape_says_nothing_and_the_model_stays(usage: str) -> None:
    assert derive(None, f'{{"model":"m","usage":{usage}}}') == {"model": "m"}


def test_the_model_asked_for_comes_before_the_one_that_answered() -> None:
    assert derive('{"model":"asked"}', '{"model":"answered"}') == {"model": "asked"}


@pytest.mark.parametrize(
    "model",
    [
        "null",
        "1",
        "{}",
        "[]",
        '""',
        '"a\\u0000b"',
        '"\\ud83d"',
        HUGE,
        "1e400",
        json.dumps("é" * 128),
        "[" * 150 + "]" * 150,
    ],
)
def test_a_model_that_can_not_be_used_gives_way_to_the_one_that_answered(model: str) -> None:
    assert derive(f'{{"model":{model}}}', '{"model":"answered"}') == {"model": "answered"}


@pytest.mark.parametrize("model", ["m", "é" * 127, "x" * 255, "🙂", "a b/c:d", "\x7f"])
def test_any_other_model_is_taken_as_it_is(model: str) -> None:
    assert derive(json.dumps({"model": model}), None) == {"model": model}


def test_the_last_of_two_models_counts() -> None:
    assert derive('{"model":"first","model":"last"}', None) == {"model": "last"}


@pytest.mark.parametrize("odd", ['"\\ud83d"', '{"\\udc00":1}', "1e400", HUGE, '"\\u0000"', "[" * 190 + "]" * 190])
def test_odd_neighbours_do_not_hide_what_is_said(odd: str) -> None:
    """A message cut in the middle of an emoji ends in half a surrogate pair; its tokens were counted all the same."""
    request = f'{{"model":"m","messages":{odd}}}'
    response = f'{{"choices":{odd},"usage":{{"prompt_tokens":9,"completion_tokens":3,"x":{odd}}}}}'

    assert derive(request, response) == {"model": "m", "input_tokens": 9, "output_tokens": 3}


def test_nothing_is_taken_out_of_nothing() -> None:
    assert derive(None, None) == {}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")


@given(model=values, usage=st.dictionaries(st.sampled_from(NAMES), values) | values)
def test_whatever_is_found_fits_its_column(model: Any, usage: Any) -> None:
    found = derive(None, json.dumps({"model": model, "usage": usage}))

    assert found.keys() <= {"model", "input_tokens", "output_tokens"}
    assert 0 <= found.get("input_tokens", 0) < 2**63
    assert 0 <= found.get("output_tokens", 0) < 2**63
    assert len(found.get("model", "x").encode()) in range(1, 256)
