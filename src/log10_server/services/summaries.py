"""Writes the one-line summary of the completions that a piece of feedback is about."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.errors import Malformed
from log10_server.strict_json import value

_SHOWN_CHARACTERS = 80
_SHOWN_MODELS = 3


def summarize(tx: Tx, targets: Sequence[Sequence[str]]) -> list[str]:
    """Return one line for each list of completion ids, such as `2 completions (gpt-4o): "What is the capital of…"`.

    The line has the number of completions, their models, and the beginning of the last user message of the first
    completion.
    """
    models = store.completions.find_models(tx, {completion_id for ids in targets for completion_id in ids})
    requests = store.completions.find_short_requests(tx, {ids[0] for ids in targets if ids})
    return [_line(ids, models, requests) for ids in targets]


def last_user_message(request: str) -> str | None:
    """Return the text of the last user message, or the prompt; None if the request has neither in a known format.

    The messages are in `messages` (OpenAI's chat API, Anthropic, Bedrock, Ollama, Cohere's second API), `contents`
    (Gemini), `input` (OpenAI's Responses API), `message` (Cohere's first API) or `prompt` (text completions). A message
    with only images or tool results is skipped.
    """
    try:
        parsed = value(request)
        if not isinstance(parsed, dict):
            return None
        return (
            _last_text(parsed.get("messages"))
            or _last_text(parsed.get("contents"), plain_texts=True)
            or _last_text(parsed.get("input"), plain_texts=True)
            or _text(parsed.get("message"))
            or _text(parsed.get("prompt"))
        )
    except (Malformed, RecursionError):
        return None


def _last_text(messages: Any, *, plain_texts: bool = False) -> str | None:
    """Return the text of the last user message. With `plain_texts` a message may also be a plain string."""
    for message in reversed(messages) if isinstance(messages, list) else [messages]:
        text = None
        if isinstance(message, str):
            text = message if plain_texts else None
        elif isinstance(message, dict) and (message.get("role") == "user" or _is_gemini_user(message)):
            text = _text(message.get("content")) or _text(message.get("parts"))
        if text:
            return text
    return None


def _is_gemini_user(message: Mapping[str, Any]) -> bool:
    """Return whether this is one of Gemini's contents without a role. Gemini treats these as the user's."""
    return "parts" in message and message.get("role") is None


def _text(content: Any) -> str | None:
    return " ".join(_texts(content)) or None


def _texts(content: Any) -> Iterator[str]:
    """Return the texts in the content of a message, which is a text, or a list of texts and of parts with a `text`."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            yield from _texts(part.get("text") if isinstance(part, dict) else part)


def _line(ids: Sequence[str], models: Mapping[str, str | None], requests: Mapping[str, str]) -> str:
    if not ids:
        return "no completions"
    line = "1 completion" if len(ids) == 1 else f"{len(ids)} completions"
    known_models = (model for completion_id in ids if (model := models.get(completion_id)) is not None)
    names = list(dict.fromkeys(map(_start, known_models)))
    if names:
        more = ", …" if len(names) > _SHOWN_MODELS else ""
        line += f" ({', '.join(names[:_SHOWN_MODELS])}{more})"
    message = _start(last_user_message(requests[ids[0]]) or "") if ids[0] in requests else ""
    return f'{line}: "{message}"' if message else line


def _start(text: str) -> str:
    """Return the first characters on one line, as text that every database can store."""
    head = text[: _SHOWN_CHARACTERS * 8]
    if not head.isprintable():
        head = "".join(character if character.isprintable() else " " for character in head)
    line = " ".join(head.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 1].rstrip() + "…"
