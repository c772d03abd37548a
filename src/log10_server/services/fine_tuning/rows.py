"""Translates a completion into a fine-tuning row.

A row has the messages of the request, the answer as the last message, and the tools that the request offers.
"""

from typing import Any, NamedTuple

from log10_server.errors import Malformed
from log10_server.services.fine_tuning.answers import read_answer
from log10_server.services.fine_tuning.conversation import Conversation, Reason, UntranslatableError
from log10_server.services.fine_tuning.requests import Assistant, read_request
from log10_server.services.fine_tuning.tools import read_tools
from log10_server.strict_json import value, written


class Row(NamedTuple):
    """A fine-tuning row, and whether the request offered tools that are left out because the format can't hold them."""

    content: dict[str, Any]
    lacks_tools: bool


class JsonRow(NamedTuple):
    """A row like `Row`, but as JSON text."""

    text: str
    lacks_tools: bool


def json_row(request: str | None, response: str | None) -> JsonRow:
    """Translate payloads that are JSON texts.

    Raises UntranslatableError, also if a payload has numbers that are too large or is nested too deeply.
    """
    if response is None:
        raise UntranslatableError(Reason.NO_ANSWER)
    if request is None:
        raise UntranslatableError(Reason.NO_MESSAGES)
    try:
        row = translate(value(request), value(response))
        return JsonRow(written(row.content), row.lacks_tools)
    except (Malformed, ValueError, RecursionError):
        raise UntranslatableError(Reason.UNREADABLE) from None


def translate(request: Any, response: Any) -> Row:
    """Translate the payloads of any provider.

    Raises UntranslatableError if the completion has no answer to learn from, or can't be expressed in the format.
    """
    if not isinstance(response, dict):
        raise UntranslatableError(Reason.NO_ANSWER)
    if not isinstance(request, dict):
        raise UntranslatableError(Reason.NO_MESSAGES)
    answer = read_answer(response)
    conversation = read_request(request)
    tools = read_tools(request)
    if isinstance(response.get("content"), list | str):
        _join_beginning(conversation, answer)
    answer.move_to(conversation)
    content: dict[str, Any] = {"messages": conversation.messages}
    if tools.functions:
        content["tools"] = tools.functions
        if isinstance(parallel := request.get("parallel_tool_calls"), bool):
            content["parallel_tool_calls"] = parallel
    return Row(content, tools.has_other_tools)


def _join_beginning(conversation: Conversation, answer: Assistant) -> None:
    """If the last message of the request is the assistant's, move its text to the beginning of the answer.

    With Anthropic a request may end with the beginning of the answer, and the model continues that text.
    """
    last = conversation.messages[-1]
    if last["role"] == "assistant" and "tool_calls" not in last:
        conversation.messages.pop()
        answer.text = last["content"] + (answer.text or "")
