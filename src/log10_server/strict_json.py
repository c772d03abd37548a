"""Reads and writes JSON by RFC 8259. Text that is not JSON is refused, and payloads are kept exactly as they were sent.

`msgspec` splits a body into its members, and checks their syntax without building the values in them. A payload is then
kept as its text (`JsonText`). If `msgspec` refuses a body, the standard library reads it again and decides whether it
is valid, because it accepts lone surrogates (`"\\ud83d"`), and its errors include the position.
"""

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import accumulate
from json import JSONDecoder
from json.encoder import encode_basestring_ascii
from typing import Any, NoReturn

import msgspec

from log10_server.errors import FieldError, Invalid, Malformed, pointer

MAX_DIGITS = 4_000


class JsonText(str):
    """The text of one JSON value that is known to be well-formed. It is stored and returned unchanged."""

    __slots__ = ()


def members(body: bytes, payloads: Collection[str], max_nesting: int) -> dict[str, Any]:
    """The members of the JSON object in `body`. Those in `payloads` are `JsonText` (None for `null`).

    An integer of more than 4 000 digits becomes infinity. Raises Malformed if `body` is not JSON in UTF-8, and Invalid
    if it is not an object or is nested deeper than `max_nesting`.
    """
    text = decoded(body)
    check_nesting(text, max_nesting)
    try:
        split: Mapping[str, str | msgspec.Raw] = _split(text)
    except (msgspec.DecodeError, RecursionError):
        split = _split_slowly(text)
    values: dict[str, Any] = {}
    for name, raw in split.items():
        part = str(raw, "utf-8") if isinstance(raw, msgspec.Raw) else raw
        values[name] = (None if part == "null" else JsonText(part)) if name in payloads else value(part)
    return values


def decoded(body: bytes) -> str:
    """Decode `body` from UTF-8, without a byte-order mark. Raises Malformed if it is not UTF-8."""
    try:
        return body.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not UTF-8: the byte at {error.start} can't be read.") from None


def value(text: str) -> Any:
    """Parse `text`. A number that is too large for a double, or an integer of more than 4 000 digits, becomes infinity.

    Raises Malformed if it is not JSON.
    """
    # msgspec is faster for short texts, and for JSON that is a string or a list of strings, however long.
    if (len(text) <= _MAX_EXACT_CHARACTERS or text[:1] in _STRING_OR_ARRAY) and type(text) is str:
        try:
            return _simple(text)
        except (msgspec.MsgspecError, UnicodeEncodeError):
            pass
    try:
        return _READER.decode(text)
    except ValueError as error:
        raise _malformed(error) from None
    except RecursionError:
        raise Malformed("The JSON is nested too deeply to be read.") from None


def check(text: str) -> None:
    """Check that `text` is JSON, without building its value. Raises Malformed if it is not."""
    try:
        _syntax(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        value(text)


def exact(text: str, at: str) -> Any:
    """Parse `text`, and refuse numbers that are too large to be represented.

    Raises Invalid for a number that `value` would read as infinity. `at` is the JSON Pointer of `text` in the body.
    """
    parsed = value(text)
    # Without an exponent, a text of up to 300 characters can't contain a number beyond a double.
    if "e" in text or "E" in text or len(text) > 300:
        field_errors = [
            FieldError(at + path, "The number is too large: it is beyond a double.") for path in _infinities(parsed)
        ]
        if field_errors:
            raise Invalid(field_errors)
    return parsed


def canonical(text: str) -> str:
    """The canonical form of a JSON text. Two texts with equal values have the same form: 1, 1.0 and 1e0 are equal."""
    return _canonical(_EXACT_READER.decode(text))


def written(value: Any) -> str:
    """Write `value` as JSON in ASCII, so that any string can be written, even one with lone surrogates."""
    return _write(value)


def written_texts(texts: Iterable[str]) -> str:
    """Write a list of strings as JSON. The result is that of `written`, in a third of the time."""
    return f"[{','.join(map(encode_basestring_ascii, texts))}]"


def check_nesting(text: str, limit: int) -> None:
    """Raise Invalid if `text` is nested deeper than `limit`.

    Text that is not JSON may pass; the parser will refuse it.
    """
    if text.count("[") + text.count("{") <= limit:
        return
    # Remove first escapes, then everything except quotes and brackets, then strings. Each of these passes runs in C.
    marks = text.encode("utf-8", "surrogatepass").replace(rb"\\", b"").replace(rb"\"", b"")
    brackets = b"".join(marks.translate(_ROUND, _UNMARKED).split(b'"')[::2])
    # Each round removes the innermost level. For nearly every document a few rounds are enough.
    for removed_levels in range(1, 9):
        rest = brackets.replace(b"()", b"")
        if not rest or len(rest) == len(brackets):
            break
        brackets = rest
        if removed_levels == limit:
            raise _too_deep(limit)
    else:
        depth = 0
        for start in range(0, len(brackets), _SLICE):  # in slices, so that other threads can run in between
            depths = list(accumulate(map(_STEP.__getitem__, brackets[start : start + _SLICE]), initial=depth))
            if max(depths) > limit - removed_levels:
                raise _too_deep(limit)
            depth = depths[-1]


def _too_deep(limit: int) -> Invalid:
    return Invalid.at("", f"The JSON is nested deeper than {limit} levels.")


_ROUND = bytes.maketrans(b"[{]}", b"(())")
_UNMARKED = bytes(set(range(256)) - set(b'"[]{}'))
_STEP = [0] * 256
_STEP[ord("(")], _STEP[ord(")")] = 1, -1
_SLICE = 1 << 16
_BOM = b"\xef\xbb\xbf"
_SPACE = re.compile(r"[ \t\n\r]*")
_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_syntax = msgspec.json.Decoder(msgspec.Raw).decode
_STRING_OR_ARRAY = frozenset('"[')
_simple = msgspec.json.Decoder(str | list[str] | float | int | bool | None).decode
_MAX_EXACT_CHARACTERS = 15  # characters; a number this short has no more digits than a double can represent
_write = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _not_a_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _integer(digits: str) -> int | float:
    if len(digits) > MAX_DIGITS:
        return -math.inf if digits[0] == "-" else math.inf
    return int(digits)


class _CanonicalNumber(str):
    """A number in canonical form, so that equal numbers have equal texts."""

    __slots__ = ()


def _canonical_number(number: str) -> _CanonicalNumber:
    mantissa, _, power = number.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    kept = digits.rstrip("0")
    if not kept:
        return _CanonicalNumber("0")
    if len(power) > MAX_DIGITS:  # `int` refuses so many digits, so such numbers are compared as text
        return _CanonicalNumber(number)
    exponent = int(power or 0) - len(fraction) + len(digits) - len(kept)
    return _CanonicalNumber(f"{'-' if number[0] == '-' else ''}{kept}e{exponent}")


_READER = JSONDecoder(parse_constant=_not_a_number, parse_int=_integer)
_EXACT_READER = JSONDecoder(parse_constant=_not_a_number, parse_int=_canonical_number, parse_float=_canonical_number)
_SCANNER = JSONDecoder(parse_constant=_not_a_number, parse_int=len, parse_float=len)


def _split_slowly(text: str) -> dict[str, str]:
    """The same as `_split`, but with the standard library. It is slower, and decides whether the text is JSON."""
    position = _after_space(text, 0)
    if text[position : position + 1] != "{":
        value(text)  # raises Malformed if the text is not JSON; if it is, it is not an object
        raise Invalid.at("", "Must be a JSON object.")
    parts: dict[str, str] = {}
    try:
        position = _after_space(text, position + 1)
        closed = text[position : position + 1] == "}"
        while not closed:
            if text[position : position + 1] != '"':
                raise json.JSONDecodeError("Expecting a member's name in double quotes", text, position)
            name, position = _SCANNER.raw_decode(text, position)
            position = _after_space(text, position)
            if text[position : position + 1] != ":":
                raise json.JSONDecodeError("Expecting ':'", text, position)
            start = _after_space(text, position + 1)
            _, end = _SCANNER.raw_decode(text, start)
            parts[name] = text[start:end]
            position = _after_space(text, end)
            closed = text[position : position + 1] == "}"
            if not closed:
                if text[position : position + 1] != ",":
                    raise json.JSONDecodeError("Expecting ',' or '}'", text, position)
                position = _after_space(text, position + 1)
        position = _after_space(text, position + 1)
        if position != len(text):
            raise json.JSONDecodeError("Extra data", text, position)
    except ValueError as error:
        raise _malformed(error) from None
    except RecursionError:
        raise Malformed("The JSON is nested too deeply to be read.") from None
    return parts


def _after_space(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def _malformed(error: ValueError) -> Malformed:
    if isinstance(error, json.JSONDecodeError):
        detail = f"Not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        return Malformed(detail, syntax_error=(error.msg, error.pos))
    return Malformed(f"Not JSON: {error}.")


def _infinities(parsed: Any, *path: str | int) -> Iterator[str]:
    if isinstance(parsed, float) and math.isinf(parsed):
        yield pointer(*path)
    elif isinstance(parsed, dict):
        for name, member in parsed.items():
            yield from _infinities(member, *path, name)
    elif isinstance(parsed, list):
        for index, item in enumerate(parsed):
            yield from _infinities(item, *path, index)


def _canonical(parsed: Any) -> str:
    if isinstance(parsed, _CanonicalNumber):
        return str(parsed)
    if isinstance(parsed, dict):
        return "{" + ",".join(f"{written(name)}:{_canonical(parsed[name])}" for name in sorted(parsed)) + "}"
    if isinstance(parsed, list):
        return "[" + ",".join(map(_canonical, parsed)) + "]"
    return written(parsed)
