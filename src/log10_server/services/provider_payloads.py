"""What a provider's payloads say about a call: its model and its tokens. OpenAI's and Anthropic's shapes."""

from contextlib import suppress
from typing import Any

import msgspec

from log10_server.errors import Malformed
from log10_server.services.merging import CompletionFields
from log10_server.strict_json import value

_MODEL_BYTES = 255
_MOST_TOKENS = 2**63 - 1
_LONGEST_BUILT = 1 << 20


class _Payload(msgspec.Struct):
    """What is looked for in a request or a response; all else is passed over without being built."""

    model: Any = None
    usage: Any = None


_payload = msgspec.json.Decoder(_Payload).decode


def derive(request: str | None, response: str | None) -> CompletionFields:
    """`model` and token counts; a key is absent where the payloads say nothing that can be used.

    The model asked for comes before the one that answered: it is the name that the program knows. A count that is
    negative (a placeholder) or no whole number is unknown. OpenAI chat says `prompt_tokens`, Anthropic and OpenAI
    responses say `input_tokens`.
    """
    found: CompletionFields = {}
    asked, answered = _read(request), _read(response)
    if (model := _model(asked.model) or _model(answered.model)) is not None:
        found["model"] = model
    usage = answered.usage if isinstance(answered.usage, dict) else {}
    if (count := _count(usage.get("prompt_tokens"), usage.get("input_tokens"))) is not None:
        found["input_tokens"] = count
    if (count := _count(usage.get("completion_tokens"), usage.get("output_tokens"))) is not None:
        found["output_tokens"] = count
    return found


def _read(payload: str | None) -> _Payload:
    if payload is None:
        return _Payload()
    try:
        return _payload(str(payload))
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        # Lone surrogates, huge numbers and the like, of which the standard library knows more.
        with suppress(Malformed):
            said = value(payload) if len(payload) <= _LONGEST_BUILT else None
            if isinstance(said, dict):
                return _Payload(said.get("model"), said.get("usage"))
        return _Payload()


def _model(said: Any) -> str | None:
    """A column takes no NUL and no lone surrogate, and an answer should not be made of huge names."""
    if not isinstance(said, str) or not 0 < len(said) <= _MODEL_BYTES or "\0" in said:
        return None
    try:
        return said if len(said.encode()) <= _MODEL_BYTES else None
    except UnicodeEncodeError:
        return None


def _count(*said: Any) -> int | None:
    for count in said:
        if type(count) is int and 0 <= count <= _MOST_TOKENS:
            return count
    return None
