"""The last user message, in the requests of each provider."""

import json
from typing import Any

import pytest
from hypothesis import given

from log10_server.services.summaries import last_user_message
from tests.payload_corpus import CORPUS, Case
from tests.unit.any_json import any_json


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"messages": [user("one"), {"role": "assistant", "content": "two"}]}, "one"),
        ({"messages": [user("one"), user("two")]}, "two"),
        ({"messages": [user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])]}, "a b"),
        ({"messages": [user([{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "b"}])]}, "b"),
        ({"system": "s", "max_tokens": 5, "messages": [user("anthropic")]}, "anthropic"),
        ({"messages": [user(["plain", "parts"])]}, "plain parts"),
        ({"prompt": "complete this"}, "complete this"),
        ({"prompt": ["a", "b"]}, "a b"),
        ({"prompt": [[1, 2], [3]]}, None),
        # Anthropic: a message that holds a tool's result is no word of the user.
        (
            {"messages": [user("one"), user([{"type": "tool_result", "content": [{"type": "text", "text": "x"}]}])]},
            "one",
        ),
        ({"messages": [user([{"type": "tool_result", "content": "x"}, {"type": "text", "text": "two"}])]}, "two"),
        ({"messages": [user("one"), user([{"type": "image_url", "image_url": {"url": "x"}}])]}, "one"),
        # OpenAI's Responses API
        ({"input": "one", "instructions": "s"}, "one"),
        ({"input": [user("one"), {"type": "function_call_output", "output": "x"}]}, "one"),
        ({"input": [user([{"type": "input_text", "text": "one"}, {"type": "input_image", "image_url": "x"}])]}, "one"),
        ({"input": [{"role": "assistant", "content": [{"type": "output_text", "text": "x"}]}]}, None),
        # Gemini
        ({"contents": [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]}, "a b"),
        ({"contents": [{"parts": [{"text": "one"}]}, {"role": "model", "parts": [{"text": "x"}]}]}, "one"),
        ({"contents": [{"parts": [{"text": "one"}]}, {"role": "user", "parts": [{"functionResponse": {}}]}]}, "one"),
        ({"contents": {"parts": [{"text": "one"}]}}, "one"),
        ({"contents": "one"}, "one"),
        ({"contents": ["one", "two"]}, "two"),
        # Bedrock, Cohere's first API, Ollama
        ({"messages": [user([{"text": "one"}, {"image": {"format": "png"}}])], "modelId": "m"}, "one"),
        ({"message": "two", "chat_history": [{"role": "USER", "message": "one"}]}, "two"),
        ({"messages": [{**user("one"), "images": ["iVBORw0KGgo="]}]}, "one"),
        ({"messages": [], "input": 5, "contents": {}, "message": {}, "prompt": "last"}, "last"),
        ({"messages": []}, None),
        ({"messages": [{"role": "system", "content": "s"}]}, None),
        ({"messages": [user(None)]}, None),
        ({"messages": [user(5)]}, None),
        ({"messages": [user({"text": "no list"})]}, None),
        ({"messages": [user([{"text": None}, {"text": 5}, None, 5])]}, None),
        ({"messages": [{"content": "no role"}]}, None),
        ({"messages": ["x", None, 5, []]}, None),
        ({"messages": "x"}, None),
        ({"messages": None, "prompt": "p"}, "p"),
        ({"messages": {"role": "user"}}, None),
        ({"prompt": {"a": 1}}, None),
        ({}, None),
    ],
)
def test_the_last_user_message_is_found_or_none(request_: Any, message: str | None) -> None:
    assert last_user_message(json.dumps(request_)) == message


@pytest.mark.parametrize(
    "text", ["{", "", "nothing", '{"a":NaN}', "[" * 100_000, "[]", '"x"', '{"prompt":' + "[" * 900 + "]" * 900 + "}"]
)
def test_what_cannot_be_read_has_no_message(text: str) -> None:
    assert last_user_message(text) is None


def test_a_deep_message_is_read() -> None:
    content = "[" * 190 + '"deep"' + "]" * 190

    assert last_user_message('{"messages":[{"role":"user","content":' + content + "}]}") == "deep"


@pytest.mark.parametrize("case", CORPUS, ids=[case.name for case in CORPUS])
def test_every_request_with_a_training_row_has_a_message_of_the_user(case: Case) -> None:
    only_image = "image" in case.name
    if case.reason is None and not only_image:
        assert last_user_message(json.dumps(case.request))


@given(request_=any_json)
def test_any_json_has_a_message_or_none(request_: Any) -> None:
    message = last_user_message(json.dumps(request_))

    assert message is None or message
