"""The last thing that the user said, in the requests of several providers."""

import json
from typing import Any

import pytest

from log10_server.services.summaries import last_user_message


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    ("request_", "said"),
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
def test_the_last_user_message_is_found_or_none(request_: Any, said: str | None) -> None:
    assert last_user_message(json.dumps(request_)) == said


@pytest.mark.parametrize("text", ["{", "", "nothing", '{"a":NaN}', "[" * 100_000])
def test_what_cannot_be_read_has_no_message(text: str) -> None:
    assert last_user_message(text) is None


def test_a_deep_message_is_read() -> None:
    content = "[" * 190 + '"deep"' + "]" * 190

    assert last_user_message('{"messages":[{"role":"user","content":' + content + "}]}") == "deep"
