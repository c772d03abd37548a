"""One plain line that tells a reader of feedback what was graded."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.errors import Malformed
from log10_server.strict_json import value

_SHOWN_CHARACTERS = 80
_SHOWN_MODELS = 3


def summarized(tx: Tx, targets: Sequence[Sequence[str]]) -> list[str]:
    """A line for each list of completion ids, such as `2 completions (gpt-4o): "What is the capital of…"`.

    It names how many, which models, and the start of the last user message of the first.
    """
    models = store.completions.find_models(tx, {id for ids in targets for id in ids})
    requests = store.completions.find_short_requests(tx, {ids[0] for ids in targets if ids})
    return [_line(ids, models, requests) for ids in targets]


def last_user_message(request: str) -> str | None:
    """What the user said last in a request of OpenAI's or Anthropic's shape, or its prompt."""
    try:
        asked = value(request)
    except Malformed:
        return None
    messages = asked.get("messages")
    if isinstance(messages, list):
        for message in reversed(messages):
            if isinstance(message, dict) and message.get("role") == "user":
                return " ".join(_texts(message.get("content"))) or None
    return " ".join(_texts(asked.get("prompt"))) or None


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            yield from _texts(part.get("text") if isinstance(part, dict) else part)


def _line(ids: Sequence[str], models: Mapping[str, str | None], requests: Mapping[str, str]) -> str:
    if not ids:
        return "no completions"
    line = "1 completion" if len(ids) == 1 else f"{len(ids)} completions"
    named = list(dict.fromkeys(_start(model) for id in ids if (model := models.get(id)) is not None))
    if named:
        more = ", …" if len(named) > _SHOWN_MODELS else ""
        line += f" ({', '.join(named[:_SHOWN_MODELS])}{more})"
    said = _start(last_user_message(requests[ids[0]]) or "") if ids[0] in requests else ""
    return f'{line}: "{said}"' if said else line


def _start(text: str) -> str:
    """The first characters in one line, as text that every database stores."""
    head = text[: _SHOWN_CHARACTERS * 8]
    plain = "".join(character if character.isprintable() else " " for character in head)
    line = " ".join(plain.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 1].rstrip() + "…"
