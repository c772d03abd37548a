"""JSON as RFC 8259 has it: what is not JSON is refused, and what only passes through is never rebuilt.

`msgspec` splits a body into its members and checks their syntax without building what is inside; a payload
(`JsonText`) is then kept as the text that came. What `msgspec` refuses is read again by the standard library,
which has the last word: it knows lone surrogates (`"\\ud83d"`), and says where the fault stands.
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
    """The text of one JSON value, known to be well-formed. It is answered as it is, byte for byte."""

    __slots__ = ()


def members(body: bytes, payloads: Collection[str], max_nesting: int) -> dict[str, Any]:
    """The members of the object in `body`; those named in `payloads` as `JsonText` (`null` as None), others as values.

    A number of more than 4 000 digits reads as infinity. Raises Malformed for what is not JSON in UTF-8, Invalid for
    another value than an object and for nesting deeper than `max_nesting`.
    """
    text = decoded(body)
    check_nesting(text, max_nesting)
    try:
        split: Mapping[str, str | msgspec.Raw] = _split(text)
    except (msgspec.DecodeError, RecursionError):
        split = _split_with_care(text)
    found: dict[str, Any] = {}
    for name, raw in split.items():
        part = str(raw, "utf-8") if isinstance(raw, msgspec.Raw) else raw
        found[name] = (None if part == "null" else JsonText(part)) if name in payloads else value(part)
    return found


def decoded(body: bytes) -> str:
    """`body` as text, without its byte-order mark."""
    try:
        return body.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not UTF-8: the byte at {error.start} can't be read.") from None


def value(text: str) -> Any:
    """The value of `text`. A number beyond a double, or of more than 4 000 digits, reads as infinity."""
    # msgspec is faster for short texts, and for JSON that is a string or a list of strings, however long.
    if (len(text) <= _SHORT or text[:1] in _TEXTS_BEGIN_WITH) and type(text) is str:
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


def exact(text: str, at: str) -> Any:
    """The value of `text`, in which every number is what it says.

    Raises Invalid, with a pointer below `at`, for a number that can't be held (beyond a double, too many digits).
    """
    read = value(text)
    if "e" in text or "E" in text or len(text) > 300:  # a shorter text holds no number that large
        faults = [
            FieldError(at + where, "The number is too large: it is beyond a double.") for where in _infinities(read)
        ]
        if faults:
            raise Invalid(faults)
    return read


def canonical(text: str) -> str:
    """A spelling that two JSON texts share exactly when they are equal as JSON values (1, 1.0 and 1e0 are one value)."""
    return _canonical(_EXACT_READER.decode(text))


def written(value: Any) -> str:
    """`value` as JSON in ASCII, so any string that came in can go out."""
    return _write(value)


def written_texts(texts: Iterable[str]) -> str:
    """As `written`, of a list of texts, in a third of the time."""
    return f"[{','.join(map(encode_basestring_ascii, texts))}]"


def check_nesting(text: str, limit: int) -> None:
    """Raise Invalid when `text` nests deeper than `limit`. What is not JSON may pass; the reader will refuse it."""
    if text.count("[") + text.count("{") <= limit:
        return
    # First the escapes, then all but quotes and brackets, then the strings: three passes that C makes.
    marks = text.encode("utf-8", "surrogatepass").replace(rb"\\", b"").replace(rb"\"", b"")
    brackets = b"".join(marks.translate(_ROUND, _UNMARKED).split(b'"')[::2])
    # A round takes away what holds nothing, one level. A few rounds end nearly every document.
    for taken in range(1, 9):
        rest = brackets.replace(b"()", b"")
        if not rest or len(rest) == len(brackets):
            break
        brackets = rest
        if taken == limit:
            raise _too_deep(limit)
    else:
        depth = 0
        for start in range(0, len(brackets), _SLICE):  # in slices, so that other threads get their turn
            depths = list(accumulate(map(_STEP.__getitem__, brackets[start : start + _SLICE]), initial=depth))
            if max(depths) > limit - taken:
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
_TEXTS_BEGIN_WITH = frozenset('"[')
_simple = msgspec.json.Decoder(str | list[str] | float | int | bool | None).decode
_SHORT = 15  # characters, in which no number has more digits than a double or an integer of 64 bits keeps
_write = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _not_a_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _integer(digits: str) -> int | float:
    if len(digits) > MAX_DIGITS:
        return -math.inf if digits[0] == "-" else math.inf
    return int(digits)


class _Spelled(str):
    """A number, in the one spelling of its value."""

    __slots__ = ()


def _spelled(number: str) -> _Spelled:
    mantissa, _, power = number.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    kept = digits.rstrip("0")
    if not kept:
        return _Spelled("0")
    if len(power) > MAX_DIGITS:  # int() refuses it, and nobody spells such a number in two ways
        return _Spelled(number)
    exponent = int(power or 0) - len(fraction) + len(digits) - len(kept)
    return _Spelled(f"{'-' if number[0] == '-' else ''}{kept}e{exponent}")


_READER = JSONDecoder(parse_constant=_not_a_number, parse_int=_integer)
_EXACT_READER = JSONDecoder(parse_constant=_not_a_number, parse_int=_spelled, parse_float=_spelled)
_SCANNER = JSONDecoder(parse_constant=_not_a_number, parse_int=len, parse_float=len)


def _split_with_care(text: str) -> dict[str, str]:
    """As `_split`, by the standard library."""
    position = _after_space(text, 0)
    if text[position : position + 1] != "{":
        value(text)  # not JSON comes before not an object
        raise Invalid.at("", "Must be a JSON object.")
    found: dict[str, str] = {}
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
            found[name] = text[start:end]
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
    return found


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _malformed(error: ValueError) -> Malformed:
    if isinstance(error, json.JSONDecodeError):
        detail = f"Not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        return Malformed(detail, syntax_error=(error.msg, error.pos))
    return Malformed(f"Not JSON: {error}.")


def _infinities(read: Any, *path: str | int) -> Iterator[str]:
    if isinstance(read, float) and math.isinf(read):
        yield pointer(*path)
    elif isinstance(read, dict):
        for name, member in read.items():
            yield from _infinities(member, *path, name)
    elif isinstance(read, list):
        for index, item in enumerate(read):
            yield from _infinities(item, *path, index)


def _canonical(read: Any) -> str:
    if isinstance(read, _Spelled):
        return str(read)
    if isinstance(read, dict):
        return "{" + ",".join(f"{written(name)}:{_canonical(read[name])}" for name in sorted(read)) + "}"
    if isinstance(read, list):
        return "[" + ",".join(map(_canonical, read)) + "]"
    return written(read)
