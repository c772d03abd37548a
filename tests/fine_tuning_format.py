"""A strict checker of OpenAI's chat fine-tuning format.

Written from OpenAI's published description of a training example (`FineTuneChatRequestInput`) and of the messages and
tools in it: these members and no others, of these types. Text and images are the only content; images stand in user
messages only. Each tool call is answered directly after the message that makes it, except in the last one.
"""

import json
import re
from typing import Any

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
_MESSAGE_MEMBERS = {
    "system": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "refusal", "tool_calls", "function_call", "weight"},
    "tool": {"role", "content", "tool_call_id"},
    "function": {"role", "content", "name"},
}


def faults_of(line: str) -> list[str]:
    """What OpenAI would refuse in a line of a training file; empty when the line is right."""
    row = json.loads(line, parse_constant=_refuse_constant)
    if not isinstance(row, dict):
        return ["the line is no object"]
    faults = _unknown_members("the row", row, {"messages", "tools", "functions", "parallel_tool_calls"})
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        return [*faults, "messages is no filled list"]
    for number, message in enumerate(messages):
        faults += _message_faults(f"message {number}", message)
    if faults:
        return faults
    if messages[-1]["role"] != "assistant":
        faults.append("the last message is not the assistant's")
    faults += _order_faults(messages)
    if "tools" in row:
        faults += _tools_faults(row["tools"])
    if "parallel_tool_calls" in row and ("tools" not in row or type(row["parallel_tool_calls"]) is not bool):
        faults.append("parallel_tool_calls is no boolean or has no tools")
    if "functions" in row:
        faults += [fault for function in row["functions"] for fault in _function_faults("functions", function)]
    return faults


def _message_faults(where: str, message: Any) -> list[str]:
    if not isinstance(message, dict):
        return [f"{where} is no object"]
    role = message.get("role")
    if role not in _MESSAGE_MEMBERS:
        return [f"{where} has the role {role!r}"]
    faults = _unknown_members(where, message, _MESSAGE_MEMBERS[role])
    if "name" in message and not _is_name(message["name"]):
        faults.append(f"{where} has the name {message['name']!r}")
    if role == "assistant":
        return faults + _assistant_faults(where, message)
    if role == "tool" and not _is_text(message.get("tool_call_id")):
        faults.append(f"{where} has no tool_call_id")
    if role == "function" and "name" not in message:
        faults.append(f"{where} has no name")
    return faults + _content_faults(where, message.get("content"), images=role == "user")


def _assistant_faults(where: str, message: dict[str, Any]) -> list[str]:
    faults = []
    calls = message.get("tool_calls")
    if "tool_calls" in message and (not isinstance(calls, list) or not calls):
        faults.append(f"{where} has tool_calls that are no filled list")
    for call in calls or []:
        if not isinstance(call, dict):
            faults.append(f"{where} has a call that is no object")
            continue
        faults += _unknown_members(f"{where}, a call", call, {"id", "type", "function"})
        if not _is_text(call.get("id")) or len(call["id"]) > 40:
            faults.append(f"{where} has a call with the id {call.get('id')!r}")
        if call.get("type") != "function":
            faults.append(f"{where} has a call of the type {call.get('type')!r}")
        faults += _call_faults(where, call.get("function"))
    if "function_call" in message:
        faults += _call_faults(where, message["function_call"])
    if "content" in message:
        faults += _content_faults(where, message["content"], images=False)
    elif not calls and "function_call" not in message:
        faults.append(f"{where} has neither content nor calls")
    return faults


def _call_faults(where: str, function: Any) -> list[str]:
    if not isinstance(function, dict):
        return [f"{where} has a call without a function"]
    faults = _unknown_members(f"{where}, a call's function", function, {"name", "arguments"})
    if not _is_name(function.get("name")):
        faults.append(f"{where} calls a function named {function.get('name')!r}")
    arguments = function.get("arguments")
    if not isinstance(arguments, str) or not isinstance(json.loads(arguments), dict):
        faults.append(f"{where} has arguments that are not the text of a JSON object")
    return faults


def _content_faults(where: str, content: Any, images: bool) -> list[str]:
    if isinstance(content, str):
        return []
    if not isinstance(content, list) or not content:
        return [f"{where} has the content {content!r}"]
    faults = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and set(part) == {"type", "text"} and _is_text(part["text"]):
            continue
        if kind == "image_url" and images and set(part) == {"type", "image_url"} and _is_image(part["image_url"]):
            continue
        faults.append(f"{where} has the part {part!r}")
    return faults


def _is_image(image: Any) -> bool:
    return (
        isinstance(image, dict)
        and image.keys() <= {"url", "detail"}
        and isinstance(image.get("url"), str)
        and image["url"].lower().startswith(("https://", "http://", "data:image/"))
        and image.get("detail", "auto") in ("auto", "low", "high")
    )


def _order_faults(messages: list[dict[str, Any]]) -> list[str]:
    """Faults in how tool calls and their results follow one another."""
    faults = []
    expected: set[str] = set()
    used: set[str] = set()
    for number, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in expected:
                faults.append(f"message {number} is the result of no call")
            expected.discard(message["tool_call_id"])
            continue
        if expected:
            faults.append(f"message {number} comes before the results of {sorted(expected)}")
        ids = [call["id"] for call in message.get("tool_calls", [])]
        expected = set(ids)
        if len(expected) < len(ids) or expected & used:
            faults.append(f"message {number} repeats the id of a call")
        used |= expected
    return faults


def _tools_faults(tools: Any) -> list[str]:
    if not isinstance(tools, list) or not tools:
        return ["tools is no filled list"]
    faults = []
    for number, tool in enumerate(tools):
        where = f"tool {number}"
        if not isinstance(tool, dict) or tool.get("type") != "function":
            faults.append(f"{where} is no function")
            continue
        faults += _unknown_members(where, tool, {"type", "function"})
        faults += _function_faults(where, tool.get("function"))
    return faults


def _function_faults(where: str, function: Any) -> list[str]:
    if not isinstance(function, dict):
        return [f"{where} is no function"]
    faults = _unknown_members(where, function, {"name", "description", "parameters", "strict"})
    if not _is_name(function.get("name")):
        faults.append(f"{where} has the name {function.get('name')!r}")
    if not isinstance(function.get("description", ""), str):
        faults.append(f"{where} has a description that is no text")
    if not isinstance(function.get("parameters", {}), dict):
        faults.append(f"{where} has parameters that are no object")
    if type(function.get("strict", True)) is not bool:
        faults.append(f"{where} has a strict that is no boolean")
    return faults


def _unknown_members(where: str, holder: dict[str, Any], allowed: set[str]) -> list[str]:
    return [f"{where} has the member {name!r}" for name in holder if name not in allowed]


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _is_text(text: Any) -> bool:
    return isinstance(text, str) and text != ""


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
