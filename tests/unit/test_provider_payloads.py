"""The model and the token counts that are derived from payloads, in every shape that providers and programs write."""

import json
from typing import Any

import pytest
from hypothesis import given

from log10_server.services.provider_payloads import derive
from tests.unit.any_json import any_json, json_objects

HUGE = "1" * 5000


def tokens(response: Any) -> tuple[int | None, int | None]:
    """The input and output tokens that are derived from a response, given as JSON text or as a value."""
    fields = derive(None, response if isinstance(response, str) else json.dumps(response))
    return fields.get("input_tokens"), fields.get("output_tokens")


# Token counts


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
def test_openai_counts_its_tokens_in_usage(usage: dict[str, Any], expected: tuple[int, int | None]) -> None:
    assert tokens({"usage": usage}) == expected


def test_openais_cached_and_reasoning_tokens_are_inside_its_counts() -> None:
    chat = {
        "prompt_tokens": 2006,
        "completion_tokens": 300,
        "prompt_tokens_details": {"cached_tokens": 1920},
        "completion_tokens_details": {"reasoning_tokens": 256},
    }
    responses = {
        "input_tokens": 2006,
        "input_tokens_details": {"cached_tokens": 1920},
        "output_tokens": 300,
        "output_tokens_details": {"reasoning_tokens": 256},
    }

    assert tokens({"usage": chat}) == (2006, 300)
    assert tokens({"object": "response", "usage": responses}) == (2006, 300)


@pytest.mark.parametrize("event", ["response.completed", "response.incomplete"])
def test_the_last_event_of_the_responses_api_holds_the_response(event: str) -> None:
    response = {"model": "gpt-4.1-2025-04-14", "usage": {"input_tokens": 36, "output_tokens": 87}}

    fields = derive('{"input":"Hello"}', json.dumps({"type": event, "sequence_number": 9, "response": response}))

    assert fields == {"model": "gpt-4.1-2025-04-14", "input_tokens": 36, "output_tokens": 87}


@pytest.mark.parametrize(
    ("usage", "input_tokens"),
    [
        ({"input_tokens": 21, "cache_creation_input_tokens": 188, "cache_read_input_tokens": 1000}, 1209),
        ({"input_tokens": 21, "cache_creation_input_tokens": 188}, 209),
        ({"input_tokens": 21, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": None}, 1021),
        ({"input_tokens": 0, "cache_read_input_tokens": 1000}, 1000),
        ({"input_tokens": 21, "cache_read_input_tokens": -1}, 21),
        ({"input_tokens": 21, "cache_creation_input_tokens": 188, "cache_creation": {"a_5m_input_tokens": 188}}, 209),
        ({"input_tokens": 2**63 - 1, "cache_read_input_tokens": 1}, None),
        ({"cache_read_input_tokens": 1000}, None),
    ],
)
def test_anthropics_cached_tokens_are_added_to_its_input(usage: dict[str, Any], input_tokens: int | None) -> None:
    assert tokens({"usage": {**usage, "output_tokens": 393}}) == (input_tokens, 393)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 0, "input_tokens": 12}, (12, None)),
        ({"prompt_tokens": 12, "input_tokens": 0}, (12, None)),
        ({"completion_tokens": 0, "output_tokens": 7}, (None, 7)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "input_tokens": 12, "output_tokens": 7}, (12, 7)),
        ({"prompt_tokens": 0, "input_tokens": 0}, (0, None)),
        ({"prompt_tokens": -1, "input_tokens": 5}, (5, None)),
        ({"prompt_tokens": 0, "input_tokens": -1}, (0, None)),
    ],
)
def test_a_zero_or_a_placeholder_gives_way_to_a_real_count(
    usage: dict[str, Any], expected: tuple[int | None, int | None]
) -> None:
    assert tokens({"usage": usage}) == expected


def test_a_zero_in_one_place_gives_way_to_a_count_in_another() -> None:
    counts = {"prompt_tokens": 0, "completion_tokens": 0}

    assert tokens({"usage": counts, "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 2}}) == (8, 2)
    assert tokens({"usage": counts, "prompt_eval_count": 26, "eval_count": 290}) == (26, 290)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"promptTokenCount": 8, "candidatesTokenCount": 20, "totalTokenCount": 28}, (8, 20)),
        ({"promptTokenCount": 8, "candidatesTokenCount": 20, "thoughtsTokenCount": 500}, (8, 520)),
        ({"promptTokenCount": 8, "thoughtsTokenCount": 500, "totalTokenCount": 508}, (8, 500)),
        ({"promptTokenCount": 8, "toolUsePromptTokenCount": 40, "candidatesTokenCount": 1}, (48, 1)),
        ({"promptTokenCount": 5000, "cachedContentTokenCount": 4800, "candidatesTokenCount": 1}, (5000, 1)),
        ({"totalTokenCount": 28}, (None, None)),
    ],
)
def test_geminis_thoughts_are_output_and_its_cache_is_inside_the_prompt(
    usage: dict[str, int], expected: tuple[int | None, int | None]
) -> None:
    def snake_case(name: str) -> str:
        return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)

    unset = {"cached_content_token_count": None, "thoughts_token_count": None, "traffic_type": None}
    as_python = {**unset, **{snake_case(name): count for name, count in usage.items()}}

    assert tokens({"candidates": [], "usageMetadata": usage}) == expected
    assert tokens({"candidates": [], "usage_metadata": as_python}) == expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({"usage": {"inputTokens": 18, "outputTokens": 386, "totalTokens": 404}}, (18, 386)),
        (
            {"usage": {"inputTokens": 18, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 7502, "outputTokens": 1}},
            (7525, 1),
        ),
        ({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 14, "outputTokenCount": 9}}, (14, 9)),
        (
            {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 14, "cacheReadInputTokenCount": 100}},
            (114, None),
        ),
    ],
)
def test_bedrocks_cached_tokens_are_added_to_its_input(
    response: dict[str, Any], expected: tuple[int, int | None]
) -> None:
    assert tokens(response) == expected


@pytest.mark.parametrize(
    "response",
    [
        {"meta": {"tokens": {"input_tokens": 71, "output_tokens": 4}, "billed_units": {"input_tokens": 5}}},
        {"meta": {"api_version": {"version": "1"}, "billed_units": {"input_tokens": 71, "output_tokens": 4}}},
        {"usage": {"billed_units": {"input_tokens": 5, "output_tokens": 4}, "tokens": {"input_tokens": 71}}},
        {"usage": {"billed_units": {"input_tokens": 71.0, "output_tokens": 4.0}}},
        {"event_type": "stream-end", "response": {"meta": {"tokens": {"input_tokens": 71, "output_tokens": 4}}}},
    ],
)
def test_coheres_processed_tokens_come_before_the_billed_ones(response: dict[str, Any]) -> None:
    assert tokens(response) == (71, 4)


def test_ollama_counts_at_the_top() -> None:
    assert tokens({"response": "Blue.", "done": True, "prompt_eval_count": 26, "eval_count": 290}) == (26, 290)
    assert tokens({"message": {"content": "Blue."}, "eval_count": 290}) == (None, 290)


@pytest.mark.parametrize(
    "response",
    [
        {},
        {"usage": {"tokens_in": 5, "tokens_out": 6}},
        {"usage": {"total_tokens": 12}},
        {"tokens": {"input_tokens": 5}},
        {"response": {"response": {"usage": {"input_tokens": 5}}}},
        {"response": "text"},
        {"meta": "text"},
        {"meta": {"tokens": 5, "billed_units": []}},
    ],
)
def test_what_is_not_understood_is_unknown(response: dict[str, Any]) -> None:
    assert tokens(response) == (None, None)


@pytest.mark.parametrize(
    "count", ["-1", "1.0", "1.5", "true", '"9"', "null", "[]", "{}", "1e3", "1e400", str(2**63), str(10**30), HUGE]
)
def test_a_count_that_can_not_be_used_is_unknown_and_hides_nothing_else(count: str) -> None:
    fields = derive(None, f'{{"model":"m","usage":{{"prompt_tokens":{count},"completion_tokens":3}}}}')

    assert fields == {"model": "m", "output_tokens": 3}


@pytest.mark.parametrize("usage", ["null", "[]", '"x"', "1", "true", "{}", HUGE, "[[{}]]"])
def test_a_usage_of_another_shape_leaves_the_model(usage: str) -> None:
    assert derive(None, f'{{"model":"m","usage":{usage}}}') == {"model": "m"}


# Models


def test_the_model_of_the_request_wins_over_the_model_of_the_response() -> None:
    assert derive('{"model":"requested"}', '{"model":"answered"}') == {"model": "requested"}


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        ({"modelId": "m"}, {"model": "other"}),
        ({"contents": []}, {"modelVersion": "m"}),
        ({"contents": []}, {"model_version": "m", "sdk_http_response": {}}),
        ({"input": "Hello"}, {"type": "response.completed", "response": {"model": "m"}}),
        ({}, {"type": "response.completed", "response": '{"model":"x"}', "model": "m"}),
    ],
)
def test_each_provider_names_the_model_in_its_own_place(request_: dict[str, Any], response: dict[str, Any]) -> None:
    assert derive(json.dumps(request_), json.dumps(response)) == {"model": "m"}


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
def test_a_model_that_can_not_be_stored_gives_way_to_the_one_that_answered(model: str) -> None:
    assert derive(f'{{"model":{model}}}', '{"model":"answered"}') == {"model": "answered"}


@pytest.mark.parametrize("model", ["m", "é" * 127, "x" * 255, "🙂", "a b/c:d", "\x7f"])
def test_any_other_model_is_stored_as_it_is(model: str) -> None:
    assert derive(json.dumps({"model": model}), None) == {"model": model}


def test_the_last_of_two_models_counts() -> None:
    assert derive('{"model":"first","model":"last"}', None) == {"model": "last"}


# Any JSON


@pytest.mark.parametrize("odd", ['"\\ud83d"', '{"\\udc00":1}', "1e400", HUGE, '"\\u0000"', "[" * 190 + "]" * 190])
@pytest.mark.parametrize(
    "response",
    [
        '"usage":{"prompt_tokens":9,"completion_tokens":3,"x":ODD}',
        '"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":3,"x":ODD}',
        '"meta":{"tokens":{"input_tokens":9,"output_tokens":3,"x":ODD}}',
        '"response":{"usage":{"input_tokens":9,"output_tokens":3,"x":ODD}}',
        '"prompt_eval_count":9,"eval_count":3',
    ],
)
def test_odd_messages_beside_the_usage_do_not_hide_it(odd: str, response: str) -> None:
    """A message cut in the middle of an emoji ends in half a surrogate pair; its tokens were counted all the same."""
    request = f'{{"model":"m","messages":{odd}}}'
    response = f'{{"choices":{odd},{response.replace("ODD", odd)}}}'

    assert derive(request, response) == {"model": "m", "input_tokens": 9, "output_tokens": 3}


def test_without_payloads_nothing_is_derived() -> None:
    assert derive(None, None) == {}


@given(request_=json_objects, response=json_objects)
def test_any_json_gives_fields_that_fit_their_columns(request_: dict[str, Any], response: dict[str, Any]) -> None:
    fields = derive(json.dumps(request_), json.dumps(response))

    assert fields.keys() <= {"model", "input_tokens", "output_tokens"}
    assert 0 <= fields.get("input_tokens", 0) < 2**63
    assert 0 <= fields.get("output_tokens", 0) < 2**63
    assert len(fields.get("model", "x").encode()) in range(1, 256)


@given(payload=any_json)
def test_a_payload_that_is_no_object_tells_nothing(payload: Any) -> None:
    if not isinstance(payload, dict):
        assert derive(json.dumps(payload), json.dumps(payload)) == {}
