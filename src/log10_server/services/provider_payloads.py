"""Reads a completion's model and token counts from the request and response of its provider.

The formats of OpenAI (chat, text completions, Responses API), Anthropic, Gemini, Bedrock, Cohere and Ollama are known.
If the payloads have another format, the model and token counts are unknown; a count is never reported as 0 instead.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from log10_server.errors import Malformed
from log10_server.services.merging import DerivedFields
from log10_server.strict_json import value

_MAX_MODEL_BYTES = 255
_MAX_TOKENS = 2**63 - 1
# If msgspec can't read a payload, the standard library parses all of it, which would take too long for a payload above
# this size.
_MAX_PARSED_CHARACTERS = 1 << 20
_ABSENT = msgspec.Raw()

# Each row has the name of a count and the names of the counts that must be added to it. OpenAI and Gemini include
# cached tokens in the prompt tokens, but Anthropic and Bedrock count them separately. Reasoning tokens are part of the
# output tokens; only Gemini counts them separately.
_Sums = tuple[tuple[str, tuple[str, ...]], ...]
_INPUT: _Sums = (
    ("prompt_tokens", ()),
    ("input_tokens", ("cache_creation_input_tokens", "cache_read_input_tokens")),
    ("inputTokens", ("cacheReadInputTokens", "cacheWriteInputTokens")),
    ("inputTokenCount", ("cacheReadInputTokenCount", "cacheWriteInputTokenCount")),
    ("promptTokenCount", ("toolUsePromptTokenCount",)),
    ("prompt_token_count", ("tool_use_prompt_token_count",)),
    ("prompt_eval_count", ()),
)
_OUTPUT: _Sums = (
    ("completion_tokens", ()),
    ("output_tokens", ()),
    ("outputTokens", ()),
    ("outputTokenCount", ()),
    ("candidatesTokenCount", ("thoughtsTokenCount",)),
    ("candidates_token_count", ("thoughts_token_count",)),
    ("thoughtsTokenCount", ()),
    ("thoughts_token_count", ()),
    ("eval_count", ()),
)


class _Request(msgspec.Struct):
    """The members of a request that name the model. All other members are skipped without being built."""

    model: Any = None
    modelId: Any = None


class _Response(msgspec.Struct):
    """The members of a response that name the model and count tokens. All other members are skipped."""

    model: Any = None
    usage: Any = None
    # The last event of a stream of the Responses API or of Cohere contains the whole response. In Ollama's format
    # `response` is a text.
    response: Any = _ABSENT
    # Gemini's API writes these members in camel case, and its Python library in snake case.
    modelVersion: Any = None
    model_version: Any = None
    usageMetadata: Any = None
    usage_metadata: Any = None
    # Cohere's first API.
    meta: Any = _ABSENT
    # Bedrock's InvokeModel.
    metrics: Any = msgspec.field(default=None, name="amazon-bedrock-invocationMetrics")
    # Ollama.
    prompt_eval_count: Any = None
    eval_count: Any = None


class _WireResponse(_Response):
    """A response as msgspec decodes it. Members that may be large stay undecoded until they are needed."""

    response: msgspec.Raw = _ABSENT
    meta: msgspec.Raw = _ABSENT


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_response = msgspec.json.Decoder(_WireResponse).decode
_decode_any = msgspec.json.Decoder().decode


def derive(request: str | None, response: str | None) -> DerivedFields:
    """Return `model`, `input_tokens` and `output_tokens`. A key is absent if the payloads have no usable value for it.

    The model in the request wins over the model in the response, because the program knows it by the name in the
    request. Token counts are totals and include cached and reasoning tokens. A count that is negative (some providers
    use it as a placeholder) or not a whole number is unknown, and a count of 0 is only used if no other member counts
    the same tokens.
    """
    fields: DerivedFields = {}
    sent = _NO_REQUEST if request is None else _read_request(request)
    received = _NO_RESPONSE if response is None else _read_response(response)
    if (model := _valid_model(sent.model) or _other_model(sent, received)) is not None:
        fields["model"] = model
    if response is None:
        return fields
    usage = received.usage
    count = usage.get("prompt_tokens") if type(usage) is dict else None
    if type(count) is int and 0 < count <= _MAX_TOKENS or (count := _total(received, _INPUT)) is not None:
        fields["input_tokens"] = count
    count = usage.get("completion_tokens") if type(usage) is dict else None
    if type(count) is int and 0 < count <= _MAX_TOKENS or (count := _total(received, _OUTPUT)) is not None:
        fields["output_tokens"] = count
    return fields


def _read_request(payload: str) -> _Request:
    try:
        return _decode_request(str(payload))
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        members = _parse_object(payload)
        return _Request(members.get("model"), members.get("modelId"))


def _read_response(payload: str | msgspec.Raw) -> _Response:
    try:
        return _decode_response(payload if type(payload) is msgspec.Raw else str(payload))
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return _response_of(_parse_object(payload if isinstance(payload, str) else str(payload, "utf-8")))


def _response_of(members: Mapping[str, Any]) -> _Response:
    fields = zip(_Response.__struct_fields__, _Response.__struct_encode_fields__, strict=True)
    return _Response(**{field: members[name] for field, name in fields if name in members})


def _parse_object(payload: str) -> dict[str, Any]:
    """Parse the object in `payload` with the standard library.

    Unlike msgspec it accepts lone surrogates and huge numbers.
    """
    with suppress(Malformed):
        parsed = value(payload) if len(payload) <= _MAX_PARSED_CHARACTERS else None
        if isinstance(parsed, dict):
            return parsed
    return {}


def _other_model(sent: _Request, received: _Response) -> str | None:
    """Return the model from a place other than the member `model` of the request."""
    names = (sent.modelId, received.model, received.modelVersion, received.model_version)
    for name in names:
        if (model := _valid_model(name)) is not None:
            return model
    inner = _inner_response(received)
    return None if inner is None else _valid_model(inner.model)


def _valid_model(model: Any) -> str | None:
    """Return the name if a column can store it: text columns can store neither NUL nor lone surrogates."""
    if not isinstance(model, str) or not 0 < len(model) <= _MAX_MODEL_BYTES or "\0" in model:
        return None
    try:
        return model if len(model.encode()) <= _MAX_MODEL_BYTES else None
    except UnicodeEncodeError:
        return None


def _total(received: _Response, sums: _Sums) -> int | None:
    """Return the first count above 0 among the places where a provider may write it.

    Returns 0 if all counts are 0, and None if there is no count.
    """
    zero = None
    for counts in _objects_with_counts(received):
        for name, added in sums:
            count = _count(counts.get(name))
            if count is None:
                continue
            count += sum(_count(counts.get(other)) or 0 for other in added)
            if 0 < count <= _MAX_TOKENS:
                return count
            if count == 0:
                zero = 0
    return zero


def _objects_with_counts(received: _Response) -> Iterator[Mapping[str, Any]]:
    """Return the objects of a response that may hold token counts. The most reliable one comes first."""
    yield from _objects(received.usage, received.usageMetadata, received.usage_metadata)
    for cohere in _objects(received.usage, _decoded(received.meta)):
        # `tokens` counts all tokens that were processed, and `billed_units` counts those that cost money.
        yield from map(_whole_numbers, _objects(cohere.get("tokens"), cohere.get("billed_units")))
    yield from _objects(received.metrics)
    yield {"prompt_eval_count": received.prompt_eval_count, "eval_count": received.eval_count}
    if (inner := _inner_response(received)) is not None:
        yield from _objects_with_counts(inner)


def _inner_response(received: _Response) -> _Response | None:
    """Return the response that an event of a stream contains.

    It is only looked for one level deep, so a deeply nested payload takes no longer.
    """
    response = received.response
    if type(response) is msgspec.Raw:
        inner = _read_response(response) if bytes(memoryview(response)[:1]) == b"{" else None
    else:
        inner = _response_of(response) if isinstance(response, dict) else None
    if inner is not None:
        inner.response = None
    return inner


def _decoded(member: Any) -> Any:
    if type(member) is not msgspec.Raw:
        return member
    if member is _ABSENT:
        return None
    try:
        return _decode_any(member)
    except (msgspec.MsgspecError, RecursionError):
        return _parse_object(str(member, "utf-8"))


def _objects(*members: Any) -> Iterator[dict[str, Any]]:
    return (member for member in members if isinstance(member, dict))


def _whole_numbers(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Convert floats with whole values to integers: Cohere's Python library writes a count of 12 as `12.0`."""
    return {
        name: int(count) if isinstance(count, float) and count.is_integer() else count for name, count in counts.items()
    }


def _count(count: Any) -> int | None:
    return count if type(count) is int and 0 <= count <= _MAX_TOKENS else None


_NO_REQUEST, _NO_RESPONSE = _Request(), _Response()
