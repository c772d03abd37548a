"""Encodes answers as JSON with `msgspec`. The text of a payload is inserted unchanged.

`msgspec` can't encode half of a surrogate pair. An answer with one is encoded by the standard library, which writes an
escape such as `\\ud83d`.
"""

from collections.abc import Callable
from json.encoder import encode_basestring_ascii
from typing import Any

import msgspec

from log10_server.strict_json import JsonText, written


def body_of(answer: Any) -> bytes:
    """Return the JSON of an answer in UTF-8. Apart from that it does the same as `json_of`."""
    if isinstance(answer, msgspec.Struct | list):
        try:
            return _encode(answer)
        except UnicodeEncodeError:
            pass
    return json_of(answer).encode()


def items_of(answers: list[Any]) -> list[bytes]:
    """Return the JSON of these answers, joined by commas, as the only item of a list. The list is empty if they are."""
    return [body_of(answers)[1:-1]] if answers else []


def json_of(answer: Any) -> str:
    """Return the JSON text of an answer. A member that is None is left out of an `Answer`, and is `null` in a dict."""
    write = _WRITERS.get(type(answer))
    if write is not None:
        return write(answer)
    if isinstance(answer, JsonText):
        return answer
    if isinstance(answer, msgspec.Struct):
        members = msgspec.structs.asdict(answer).items()
        return "{" + ",".join([f'"{name}":{json_of(member)}' for name, member in members if member is not None]) + "}"
    return written(answer)


def _of_dict(answer: dict[str, Any]) -> str:
    return "{" + ",".join([f"{written(name)}:{json_of(member)}" for name, member in answer.items()]) + "}"


def _of_list(answer: list[Any]) -> str:
    return "[" + ",".join([json_of(item) for item in answer]) + "]"


def _of_raw(text: msgspec.Raw) -> str:
    return str(text, "utf-8")


def _raw(text: Any) -> msgspec.Raw:
    if isinstance(text, JsonText):
        return msgspec.Raw(str(text))  # `Raw` refuses a subclass of `str`
    raise NotImplementedError(f"An answer can't contain a {type(text).__name__}.")


_encode = msgspec.json.Encoder(enc_hook=_raw).encode
_WRITERS: dict[type, Callable[[Any], str]] = {
    str: encode_basestring_ascii,
    int: int.__repr__,
    dict: _of_dict,
    list: _of_list,
    msgspec.Raw: _of_raw,
}
