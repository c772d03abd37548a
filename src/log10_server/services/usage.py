"""What a provider's payloads say about a call: its model and its tokens. OpenAI's and Anthropic's shapes."""

from contextlib import suppress
from typing import Any

import msgspec

from log10_server.services.merging import CompletionFields

_MODEL_BYTES = 255
_MOST_TOKENS = 2**63 - 1


class _Usage(msgspec.Struct):
    """OpenAI chat says `prompt_tokens`, Anthropic and OpenAI responses say `input_tokens`."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    input_tokens: Any = None
    output_tokens: Any = None


class _Request(msgspec.Struct):
    model: Any = None


class _Response(msgspec.Struct):
    model: Any = None
    usage: msgspec.Raw | None = None


_request = msgspec.json.Decoder(_Request).decode
_response = msgspec.json.Decoder(_Response).decode
_usage = msgspec.json.Decoder(_Usage).decode


def taken_out(request: str | None, response: str | None) -> CompletionFields:
    """`model` and token counts; a key is absent where the payloads say nothing that can be used.

    The model asked for comes before the one that answered: it is the name that the program knows. A count that is
    negative (a placeholder) or no whole number is unknown.
    """
    found: CompletionFields = {}
    asked = answered = None
    if request is not None:
        with suppress(msgspec.MsgspecError):
            asked = _model(_request(str(request)).model)
    if response is not None:
        with suppress(msgspec.MsgspecError):
            said = _response(str(response))
            answered = _model(said.model)
            usage = _usage(said.usage) if said.usage is not None else _Usage()
            if (count := _count(usage.prompt_tokens, usage.input_tokens)) is not None:
                found["input_tokens"] = count
            if (count := _count(usage.completion_tokens, usage.output_tokens)) is not None:
                found["output_tokens"] = count
    if (model := asked or answered) is not None:
        found["model"] = model
    return found


def _model(said: Any) -> str | None:
    if not isinstance(said, str) or not 0 < len(said) <= _MODEL_BYTES or "\0" in said:
        return None
    return said if len(said.encode("utf-8", "surrogatepass")) <= _MODEL_BYTES else None


def _count(*said: Any) -> int | None:
    for count in said:
        if type(count) is int and 0 <= count <= _MOST_TOKENS:
            return count
    return None
