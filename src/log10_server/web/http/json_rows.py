"""Rows that come one after the other: JSON Lines or the elements of a JSON array, split while they arrive.

`Lines` and `Elements` are given bytes in parts of any size and give rows as soon as they are whole, so neither a body
nor a file is ever held as a whole; how it was cut into parts changes nothing. What stands in a row is judged by
`members` alone: elements that are JSON each, with commas between them, are a JSON array.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import msgspec
from pydantic import ValidationError

from log10_server.errors import FieldError, Invalid, Malformed, TooLarge, pointer
from log10_server.settings import Limits
from log10_server.strict_json import decoded, members, value
from log10_server.web.http.endpoint import field_errors
from log10_server.web.http.fields import RequestModel

M = TypeVar("M", bound=RequestModel)

_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\n\r"


class Row(NamedTuple):
    """A row, and where it stands.

    `number` counts rows from 0. `line` counts lines from 1, and is 0 for an element of an array, whose first byte is
    the byte `at` of the body. `content` is None for a row that is too long: it was passed over.
    """

    number: int
    line: int
    at: int
    content: bytes | None

    def members(self, payloads: Collection[str], max_nesting: int) -> dict[str, Any]:
        """As `strict_json.members`, of a row that is not too long; refusals say which row, and faults point into it."""
        try:
            return members(self._content(), payloads, max_nesting)
        except Malformed as refusal:
            raise self._located(refusal) from None

    def pointing(self, faults: Collection[FieldError]) -> list[FieldError]:
        """The faults of this row, as faults of all rows together."""
        return [FieldError(pointer(self.number) + fault.path, fault.message) for fault in faults]

    def _content(self) -> bytes:
        assert self.content is not None
        if not self.line and self.content.startswith(_BOM):  # one is allowed before the array, not inside
            raise Malformed("", syntax_error=("Expecting value", 0))
        return self.content

    def _located(self, refusal: Malformed) -> Malformed:
        where = f"line {self.line}" if self.line else f"from byte {self.at} on"
        if refusal.syntax_error is None:
            return Malformed(f"Row {self.number} ({where}): {refusal.detail}")
        reason, position = refusal.syntax_error
        if self.line:
            where = f"line {self.line}, column {position + 1}"
        else:
            before = (self.content or b"").decode(errors="replace")[:position]
            where = f"byte {self.at + len(before.encode())}"
        return Malformed(f"Row {self.number} is not JSON: {reason} at {where}.", syntax_error=refusal.syntax_error)


def validated(model: type[M], said: dict[str, Any], limits: Limits) -> M:
    """What a row says, as `model` has it. Raises Invalid, with faults that point into the row."""
    try:
        # What `model_validate` calls, at four fifths of its price.
        return cast(M, model.__pydantic_validator__.validate_python(said, context=limits))
    except ValidationError as error:
        raise Invalid(field_errors(error)) from None


class Splitter(Protocol):
    """Rows out of parts. Each part, and then the end, is given once, and all of its rows are taken before the next."""

    def feed(self, part: bytes) -> Iterator[Row]: ...

    def close(self) -> Iterator[Row]: ...


class Lines:
    """JSON Lines. Blank lines are no rows, and the last line needs no end. A line of more than `most` is passed over."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: list[bytes] = []
        self._size = 0
        self._number = 0
        self._is_first = True
        self.line = 1

    def feed(self, part: bytes) -> Iterator[Row]:
        first, *others = part.split(b"\n")
        self._hold(first)
        for other in others:
            if (row := self._ended()) is not None:
                yield row
            self._hold(other)

    def close(self) -> Iterator[Row]:
        if (row := self._ended()) is not None:
            yield row

    def _hold(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._most + len(_BOM) + 1:  # a mark at the start, a carriage return at the end
            self._held.append(piece)
        else:
            self._held.clear()

    def _ended(self) -> Row | None:
        content = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        is_kept = len(content) == self._size
        if self._is_first:
            content = content.removeprefix(_BOM)
        content = content.removesuffix(b"\r")
        row = None
        if not is_kept or (content and not content.isspace()):
            row = Row(self._number, self.line, 0, content if is_kept and len(content) <= self._most else None)
            self._number += 1
        self._held, self._size, self._is_first = [], 0, False
        self.line += 1
        return row


# Marks are looked for backwards from the end of a part until the last comma between two elements.
_MARK = re.compile(rb"[\[\]{},]")
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{},]', re.DOTALL)
_BETWEEN = re.compile(rb"[ \t\n\r,]*")
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1, ord(","): 0}
_COMMA = ord(",")
_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
# How much more than an element may be held: what stands behind the last one.
_BEHIND = 1 << 16


def _found(piece: bytes, end: bytes) -> list[msgspec.Raw]:
    """The elements of what stands between brackets; none where that is no JSON, or none that `msgspec` takes."""
    try:
        return _raws(b"[" + piece + end)
    except (msgspec.MsgspecError, RecursionError):
        return []


class Elements:
    """The elements of one JSON array, each at most `most` bytes long.

    Raises Malformed for what is no JSON around the elements, Invalid for another value than an array, and TooLarge for
    an element that is too long, before it is held as a whole.

    All that came up to the last comma between elements is split at once, by `msgspec`. That comma is guessed: most
    programs begin each row with the same member. What `msgspec` takes for elements proves the guess right; else the
    comma is looked for, by passes over the part that keep count of brackets, which take longer than all else here.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: list[bytes] = []  # what came after the last comma
        self._size = 0
        self._at = 0  # of what is held, in bytes of the body
        self._number = 0
        self._is_open = False
        self._is_no_array = False
        self._depth = 1
        self._in_string = False
        self._start = b""  # how an element began behind another one
        self._cut = b""  # a backslash at the end of a part, which belongs to what comes next

    def feed(self, part: bytes) -> Iterator[Row]:
        if not self._is_open and not self._is_no_array:
            part = self._opened(part)
        if self._is_no_array:
            self._hold(part)
        if not self._is_open or not part:
            return
        part = self._cut + part
        backslashes = len(part) - len(part.rstrip(b"\\"))
        whole = len(part) - backslashes % 2
        part, self._cut = part[:whole], part[whole:]
        comma = self._guessed_comma(part)
        if comma >= 0 and (found := _found(piece := b"".join([*self._held, part[:comma]]), b"]")):
            yield from self._rows(piece, found)
            self._go_on_behind(piece)
            self._depth, self._in_string = 1, False
            part = part[comma + 1 :]
        comma = self._last_comma(part)
        if comma < 0:
            self._hold(part)
            return
        piece = b"".join([*self._held, part[:comma]])
        yield from self._split(piece)
        self._go_on_behind(piece)
        self._hold(part[comma + 1 :])

    def close(self) -> Iterator[Row]:
        piece = b"".join([*self._held, self._cut])
        if self._is_open:
            yield from self._split(piece, is_last=True)
            return
        try:
            value(decoded(_BOM + piece))  # not JSON comes before not an array, and a second mark is not JSON
        except Malformed as refusal:
            if not piece.startswith(b"{"):
                raise
            raise Malformed(f"{refusal.detail} JSON Lines are sent as application/x-ndjson.") from None
        raise Invalid.at("", "Must be a JSON array of objects; JSON Lines are sent as application/x-ndjson.")

    def _opened(self, part: bytes) -> bytes:
        """What stands behind the opening bracket, if it has come. Before it may be a byte-order mark and white space."""
        if not self._at:
            part = self._cut + part
            self._cut = b""
            if len(part) < len(_BOM) and _BOM.startswith(part):  # the mark may be cut, too
                self._cut = part
                return b""
        kept = (part if self._at else part.removeprefix(_BOM)).lstrip(_SPACE)
        self._at += len(part) - len(kept)
        self._is_open = kept.startswith(b"[")
        self._is_no_array = bool(kept) and not self._is_open
        self._at += self._is_open
        return kept.removeprefix(b"[")

    def _hold(self, piece: bytes) -> None:
        if not self._size and self._is_open:
            kept = piece.lstrip(_SPACE)
            self._at += len(piece) - len(kept)
            piece = kept
        self._held.append(piece)
        self._size += len(piece)
        if self._size > self._most + _BEHIND:
            raise self._too_large(self._number)

    def _too_large(self, number: int) -> TooLarge:
        return TooLarge(f"Row {number} is larger than {self._most} bytes.")

    def _go_on_behind(self, piece: bytes) -> None:
        self._at += len(piece) + 1
        self._held, self._size = [], 0

    def _guessed_comma(self, part: bytes) -> int:
        """Where the last comma before what looks as the start of an element did stands in `part`, or -1."""
        if not self._start or self._size > len(part):  # of a long element no part may cost as much as all of it
            return -1
        start = part.rfind(self._start)
        return -1 if start < 0 else part.index(b",", start + 1)

    def _last_comma(self, part: bytes) -> int:
        """Where the last comma between elements stands in `part`; -1 where there is none. Brackets are counted on."""
        marks = part.replace(rb"\\", b"__").replace(rb"\"", b"__") if b"\\" in part else part
        pieces = marks.split(b'"')
        first = int(self._in_string)  # of the pieces that are outside of strings
        outside = b"".join(pieces[first::2])
        opening = outside.count(b"{") + outside.count(b"[")
        self._depth += opening - outside.count(b"}") - outside.count(b"]")
        self._in_string ^= len(pieces) % 2 == 0
        depth, end = self._depth, len(part)
        for number in range(len(pieces) - 1, -1, -1):
            piece = pieces[number]
            start = end - len(piece)
            if number % 2 == first:
                for mark in reversed([*_MARK.finditer(piece)]):
                    step = _STEP[piece[mark.start()]]
                    if depth == 1 and not step:
                        return start + mark.start()
                    depth -= step
            end = start - 1
        return -1

    def _split(self, piece: bytes, is_last: bool = False) -> Iterator[Row]:
        """The elements of what stands between two commas, or behind the last one."""
        found = _found(piece, b"" if is_last else b"]")
        return self._rows(piece, found) if found else self._split_with_care(piece, is_last)

    def _rows(self, piece: bytes, found: list[msgspec.Raw]) -> Iterator[Row]:
        position = end = 0
        for raw in found:
            content = bytes(raw)
            between = _BETWEEN.match(piece, end)
            position = between.end() if between else end
            if end and not self._start and content.startswith(b'{"'):
                self._start = piece[end - 1 : position] + content[: content.find(b'"', 2) + 1]
            yield self._row(content, position)
            end = position + len(content)

    def _split_with_care(self, piece: bytes, is_last: bool) -> Iterator[Row]:
        """As `_split`, whatever stands there."""
        start = depth = 0
        for token in _TOKEN.finditer(piece):
            mark = piece[token.start()]
            depth += _STEP.get(mark, 0)
            if mark == _COMMA and not depth:
                yield self._row(piece[start : token.start()], start)
                start = token.end()
            elif depth < 0:
                if mark != ord("]"):
                    raise Malformed(f"Not JSON: Expecting ',' or ']' at byte {self._at + token.start()}.")
                content = piece[start : token.start()]
                if self._number or content.strip(_SPACE):
                    yield self._row(content, start)
                behind = piece[token.end() :].lstrip(_SPACE)
                if behind or not is_last:
                    raise Malformed(f"Not JSON: Extra data at byte {self._at + len(piece) - len(behind)}.")
                return
        if is_last:
            raise Malformed(f"Not JSON: the array is not closed. The body ends at byte {self._at + len(piece)}.")
        yield self._row(piece[start:], start)

    def _row(self, content: bytes, position: int) -> Row:
        kept = content.lstrip(_SPACE)
        position += len(content) - len(kept)
        kept = kept.rstrip(_SPACE)
        if len(kept) > self._most:
            raise self._too_large(self._number)
        row = Row(self._number, 0, self._at + position, kept)
        self._number += 1
        return row
