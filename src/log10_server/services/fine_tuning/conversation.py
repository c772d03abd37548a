"""Builds the messages of a fine-tuning row.

`Conversation` takes messages that were read from any provider's format, and keeps them in OpenAI's format.
"""

import enum
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from log10_server.errors import Malformed
from log10_server.strict_json import value

# OpenAI refuses ids of tool calls that are longer, and names of functions and participants that do not match.
_MAX_CALL_ID = 40
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_IMAGE_URL = re.compile(r"https?://.|data:image/(?:png|jpeg|webp|gif);base64,.", re.DOTALL | re.IGNORECASE)
_DETAILS = ("auto", "low", "high")

Part = dict[str, Any]
Content = str | list[Part]


class Reason(enum.StrEnum):
    """The reason why a completion has no fine-tuning row."""

    NO_ANSWER = "no_answer"
    NO_MESSAGES = "no_messages"
    EARLIER_CONVERSATION = "earlier_conversation"
    PROVIDER_TOOL = "provider_tool"
    UNSUPPORTED_CONTENT = "unsupported_content"
    INVALID_MESSAGE = "invalid_message"
    INVALID_TOOL = "invalid_tool"
    UNMATCHED_TOOL_CALL = "unmatched_tool_call"
    UNREADABLE = "unreadable"


EXPLANATIONS = {
    Reason.NO_ANSWER: "the response has no answer (it failed, is empty or still open)",
    Reason.NO_MESSAGES: "the request has no messages in a known format",
    Reason.EARLIER_CONVERSATION: "the request continues a conversation that only the provider stores",
    Reason.PROVIDER_TOOL: "the provider ran one of its built-in tools, such as a web search",
    Reason.UNSUPPORTED_CONTENT: "a message has content that is neither text nor an image",
    Reason.INVALID_MESSAGE: "a message has no content or an unknown role",
    Reason.INVALID_TOOL: "a tool or a tool call does not fit OpenAI's format",
    Reason.UNMATCHED_TOOL_CALL: "a tool call has no result, or a result has no tool call",
    Reason.UNREADABLE: "a payload has a number that is too large, or is nested too deeply",
}


class UntranslatableError(Exception):
    """A completion can't be expressed in OpenAI's fine-tuning format. `reason` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(EXPLANATIONS[reason])
        self.reason = reason


class Call(NamedTuple):
    """A function call by the assistant. `arguments` is the text of a JSON object."""

    call_id: str | None
    name: str
    arguments: str


class Result(NamedTuple):
    """The result of a function call.

    It refers to its call by the call's id or, without an id, by the name of the function. Without either it belongs to
    the next call that has no result yet.
    """

    call_id: str | None
    name: str | None
    text: str


class _OpenCall(NamedTuple):
    call: Call
    row_id: str


class Conversation:
    """The messages of a row, in the order in which they are added.

    OpenAI requires the results of tool calls directly after the calls. A call gets a new id if it has none that OpenAI
    accepts, or if its id occurred before in the conversation.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._open_calls: list[_OpenCall] = []
        self._call_ids: set[str] = set()

    def add_system(self, text: str, name: Any = None) -> None:
        """Add instructions.

        Fine-tuning does not accept OpenAI's newer role `developer`, so the role is always `system`.
        """
        self._add({"role": "system", "content": text, **_name(name)})

    def add_user(self, content: Content, name: Any = None) -> None:
        """Add a user's message. Raises UntranslatableError for an empty list."""
        if not content and not isinstance(content, str):
            raise UntranslatableError(Reason.INVALID_MESSAGE)
        self._add({"role": "user", "content": content, **_name(name)})

    def add_assistant(self, text: str | None, calls: Sequence[Call], name: Any = None) -> None:
        """Add an assistant's message. Raises UntranslatableError if it has neither text nor calls."""
        if text is None and not calls:
            raise UntranslatableError(Reason.INVALID_MESSAGE)
        message: dict[str, Any] = {"role": "assistant"}
        if text or not calls:
            message["content"] = text
        self._add({**message, **_name(name)})
        if calls:
            self._open_calls = [_OpenCall(call, self._row_id(call.call_id)) for call in calls]
            self.messages[-1]["tool_calls"] = [
                {"id": row_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call, row_id in self._open_calls
            ]

    def add_result(self, result: Result) -> None:
        """Add the result of a tool call.

        Raises UntranslatableError if no call of the last assistant message still waits for this result.
        """
        for number, (call, row_id) in enumerate(self._open_calls):
            if _answers(result, call):
                del self._open_calls[number]
                self.messages.append({"role": "tool", "tool_call_id": row_id, "content": result.text})
                return
        raise UntranslatableError(Reason.UNMATCHED_TOOL_CALL)

    def _add(self, message: dict[str, Any]) -> None:
        if self._open_calls:
            raise UntranslatableError(Reason.UNMATCHED_TOOL_CALL)
        self.messages.append(message)

    def _row_id(self, call_id: str | None) -> str:
        row_id, number = call_id or "", len(self._call_ids)
        while not 0 < len(row_id) <= _MAX_CALL_ID or row_id in self._call_ids:
            number += 1
            row_id = f"call_{number}"
        self._call_ids.add(row_id)
        return row_id


def text_part(text: Any) -> Part:
    """Build a message part that holds a text. Raises UntranslatableError for any other value."""
    if not isinstance(text, str):
        raise UntranslatableError(Reason.UNSUPPORTED_CONTENT)
    return {"type": "text", "text": text}


def image_part(url: Any, detail: Any = None) -> Part:
    """Build a message part that holds an image, from a URL or a data URL.

    Raises UntranslatableError for any other value.
    """
    if not isinstance(url, str) or not _IMAGE_URL.match(url):
        raise UntranslatableError(Reason.UNSUPPORTED_CONTENT)
    return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail in _DETAILS else {})}}


def function_name(name: Any) -> str:
    """Return the name of a function. Raises UntranslatableError if OpenAI would refuse it."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UntranslatableError(Reason.INVALID_TOOL)
    return name


def arguments_text(text: str) -> str:
    """Return the arguments of a call exactly as they were written.

    Raises UntranslatableError unless they are a JSON object.
    """
    try:
        arguments = value(text or "{}")
    except Malformed:
        arguments = None
    if not isinstance(arguments, dict):
        raise UntranslatableError(Reason.INVALID_TOOL)
    return text or "{}"


def _name(name: Any) -> dict[str, str]:
    """Return the member `name` of a message, or no member if OpenAI would refuse the name, which is optional."""
    return {"name": name} if isinstance(name, str) and _NAME.fullmatch(name) else {}


def _answers(result: Result, call: Call) -> bool:
    if result.call_id is not None and call.call_id is not None:
        return result.call_id == call.call_id
    return result.name is None or result.name == call.name
