"""Chat fine-tuning rows in OpenAI's format, from completions that people found good.

The conversions are pure: they take what a provider's request and response said (OpenAI's chat and text completions,
Anthropic's messages, and the mixtures that clients log) and give the row, or None where there is nothing to learn.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.errors import Malformed
from log10_server.services.filters import Test
from log10_server.store.completions import CompletionRow, Cursor
from log10_server.store.transfer import Window
from log10_server.strict_json import value, written

_VALUES_AT_ONCE = 50


class TrainingPage(NamedTuple):
    """Some rows as JSON texts, how many completions had no usable response, and where the next page begins."""

    rows: list[str]
    left_out: int
    next_cursor: Cursor | None


def page(tx: Tx, task_id: str, satisfied: Test, after: Cursor | None, until: int) -> TrainingPage:
    """Rows of completions, the oldest first, that have accepted feedback of the task with values that satisfy.

    Each completion is there once. An unknown task has none.
    """
    about = store.transfer.list_completions_with_feedback(tx, task_id, Window(after, until))
    if not about:
        return TrainingPage([], 0, None)
    good = _satisfying(tx, task_id, satisfied, about)
    rows = [row_of(one.request, one.response) for one in about if one.id in good]
    usable = [row for row in rows if row is not None]
    return TrainingPage(usable, len(rows) - len(usable), Cursor(about[-1].created_at, about[-1].id))


def _satisfying(tx: Tx, task_id: str, satisfied: Test, about: list[CompletionRow]) -> set[str]:
    """Those of the completions that satisfying feedback is about; the values are read a few at a time."""
    given = store.transfer.list_accepted_feedback(tx, task_id, [one.id for one in about])
    good: set[str] = set()
    ids = sorted(given)
    for start in range(0, len(ids), _VALUES_AT_ONCE):
        for id, row in store.feedback.find_many(tx, ids[start : start + _VALUES_AT_ONCE]).items():
            if satisfied(value(row.json_values)):
                good.update(given[id])
    return good


def row_of(request: str | None, response: str | None) -> str | None:
    """The row as JSON text, from payloads as JSON texts."""
    if request is None or response is None:
        return None
    try:
        row = converted(value(request), value(response))
        return None if row is None else written(row)
    except (Malformed, ValueError, RecursionError):  # a number that no JSON can say, or nesting without end
        return None


def converted(request: Mapping[str, Any], response: Mapping[str, Any]) -> dict[str, Any] | None:
    """`messages` up to and with the assistant's answer, and the request's `tools`."""
    asked, answer = _asked(request), _answer(response)
    if not asked or answer is None:
        return None
    row: dict[str, Any] = {"messages": [*asked, answer]}
    tools = [_tool(tool) for tool in _dicts(request.get("tools"))]
    if tools:
        row["tools"] = tools
    elif functions := list(_dicts(request.get("functions"))):
        row["functions"] = functions
    return row


def _asked(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the request holds as OpenAI's messages; none when it holds nothing that can be said so."""
    messages = list(_dicts(request.get("messages")))
    if messages:
        system = _text(request.get("system"))
        first = [{"role": "system", "content": system}] if system else []
        return first + [one for message in messages for one in _messages(message)]
    prompt = request.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) and prompt else []


def _answer(response: Mapping[str, Any]) -> dict[str, Any] | None:
    choice = next(_dicts(response.get("choices")), None)
    if choice is not None:
        message = choice.get("message")
        if isinstance(message, dict):
            return _usable(_assistant(message))
        return _usable({"role": "assistant", "content": choice.get("text")})
    if isinstance(response.get("content"), list | str):
        return _usable(_assistant({"content": response["content"]}))
    return _usable({"role": "assistant", "content": response.get("completion")})


def _usable(message: dict[str, Any]) -> dict[str, Any] | None:
    says = message.get("content") or message.get("tool_calls") or message.get("function_call")
    return message if says and isinstance(message.get("content"), str | list | None) else None


def _messages(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One message as OpenAI has it. Anthropic's results of tools stand inside a user's message, OpenAI's beside it."""
    role, content = message.get("role"), message.get("content")
    if role == "assistant":
        yield _assistant(message)
        return
    if isinstance(content, list):
        parts = []
        for part in content:
            if isinstance(part, dict) and part.get("type") == "tool_result":
                said = _text(part.get("content"))
                yield {"role": "tool", "tool_call_id": part.get("tool_use_id"), "content": said}
            else:
                parts.append(_part(part))
        if parts:
            yield {**_set(message), "content": parts}
        return
    yield _set(message)


def _assistant(message: Mapping[str, Any]) -> dict[str, Any]:
    """`content`, and `tool_calls` (or the older `function_call`) where there are any."""
    content = message.get("content")
    calls = list(_dicts(message.get("tool_calls")))
    if isinstance(content, list):
        calls += [_call(part) for part in _dicts(content) if part.get("type") == "tool_use"]
        content = _text(content) or None
    said: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        said["tool_calls"] = calls
    elif isinstance(message.get("function_call"), dict):
        said["function_call"] = message["function_call"]
    for name in ("refusal", "name"):
        if message.get(name):
            said[name] = message[name]
    return said


def _call(part: Mapping[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(part.get("input") or {}, ensure_ascii=False, allow_nan=False)
    return {
        "id": part.get("id"),
        "type": "function",
        "function": {"name": part.get("name"), "arguments": arguments},
    }


def _part(part: Any) -> Any:
    """A piece of a user's content; Anthropic's images become OpenAI's."""
    if not isinstance(part, dict):
        return {"type": "text", "text": part} if isinstance(part, str) else part
    if part.get("type") == "text":
        return {"type": "text", "text": part.get("text")}
    source = part.get("source")
    if part.get("type") == "image" and isinstance(source, dict):
        inline = f"data:{source.get('media_type')};base64,{source.get('data')}"
        return {"type": "image_url", "image_url": {"url": source.get("url") or inline}}
    return part


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's as it is; Anthropic's `input_schema` is OpenAI's `parameters`."""
    if "input_schema" not in tool:
        return dict(tool)
    described = {"description": tool["description"]} if tool.get("description") else {}
    return {
        "type": "function",
        "function": {"name": tool.get("name"), **described, "parameters": tool["input_schema"]},
    }


def _text(content: Any) -> str:
    """The text of a string, or of a list of blocks."""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text") or "") for part in _dicts(content) if part.get("type", "text") == "text")


def _dicts(items: Any) -> Iterator[dict[str, Any]]:
    return (item for item in items if isinstance(item, dict)) if isinstance(items, list) else iter(())


def _set(message: Mapping[str, Any]) -> dict[str, Any]:
    """Without members that are null: OpenAI takes none."""
    return {name: said for name, said in message.items() if said is not None}
