"""Reads the answer in a provider's response."""

from collections.abc import Mapping
from typing import Any

from log10_server.services.fine_tuning.blocks import read_blocks
from log10_server.services.fine_tuning.conversation import Reason, UntranslatableError
from log10_server.services.fine_tuning.requests import (
    Assistant,
    add_assistant_item,
    is_assistant_item,
    reason_against_item,
)

# The members that hold the answer in the older text completions of OpenAI and Anthropic, in Cohere's first API, and in
# Ollama's completions.
_PLAIN_TEXTS = ("completion", "text", "response")


def read_answer(response: Mapping[str, Any]) -> Assistant:
    """Return the assistant's answer. If the response holds several answers, it is the one with the lowest index.

    Raises UntranslatableError if there is no answer, or if it contains something that a fine-tuning row can't.
    """
    if isinstance(inner := response.get("response"), dict):  # The last event of a stream contains the whole response.
        response = inner
    answer = Assistant()
    _read_into(answer, response)
    if not answer.text and not answer.calls:
        raise UntranslatableError(Reason.NO_ANSWER)
    return answer


def _read_into(answer: Assistant, response: Mapping[str, Any]) -> None:
    output = response.get("output")
    if isinstance(choices := response.get("choices"), list):
        choice = _first(choices)
        if isinstance(message := choice.get("message"), dict):
            answer.add_message(message)
        else:
            answer.text = _plain_text(choice.get("text"))
    elif isinstance(output, list):
        for item in output:
            if not is_assistant_item(item):
                kind = item.get("type") if isinstance(item, dict) else None
                raise UntranslatableError(reason_against_item(kind))
            add_assistant_item(answer, item)
    elif isinstance(output, dict) and isinstance(message := output.get("message"), dict):  # Bedrock
        answer.add_message(message)
    elif isinstance(candidates := response.get("candidates"), list):
        _read_gemini(answer, _first(candidates))
    elif isinstance(message := response.get("message"), dict):  # Cohere and Ollama
        answer.add_message(message)
    elif isinstance(content := response.get("content"), list | str):  # Anthropic
        answer.add(read_blocks(content))
    else:
        answer.text = next(filter(None, (_plain_text(response.get(name)) for name in _PLAIN_TEXTS)), None)
        answer.add_message({"tool_calls": response.get("tool_calls")})


def _read_gemini(answer: Assistant, candidate: Mapping[str, Any]) -> None:
    for name in ("groundingMetadata", "grounding_metadata"):
        if candidate.get(name):
            raise UntranslatableError(Reason.PROVIDER_TOOL)
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    if parts is not None:
        answer.add(read_blocks(parts))


def _first(choices: list[Any]) -> Mapping[str, Any]:
    """Return the choice with the lowest index. The index of a choice that has none is its position in the list."""

    def order(numbered: tuple[int, dict[str, Any]]) -> int:
        position, choice = numbered
        index = choice.get("index")
        return index if type(index) is int else position

    numbered = [(position, choice) for position, choice in enumerate(choices) if isinstance(choice, dict)]
    return min(numbered, key=order)[1] if numbered else {}


def _plain_text(text: Any) -> str | None:
    return text if isinstance(text, str) else None
