"""Splits a body or a file into rows while it arrives: the lines of JSON Lines, or the elements of a JSON array.

`LineSplitter` and `ArraySplitter` take bytes in parts of any size and yield each row as soon as it is complete, so a
body or file is never in memory as a whole. The rows do not depend on how the bytes were divided into parts. A splitter
only finds where rows begin and end; `Row.members` decides whether a row is valid JSON.
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
    """A row, and its position.

    `number` counts rows from 0. `line` is the number of the line, counted from 1. For an element of an array, `line` is
    0, and the element begins at the byte `at` of the body. `content` is None if the row was too long and was skipped.
    """

    number: int
    line: int
    at: int
    content: bytes | None

    def members(self, payloads: Collection[str], max_nesting: int) -> dict[str, Any]:
        """Parse the members of a row that was not skipped, with `strict_json.members`.

        Raises Malformed and Invalid like that function, but the text of Malformed also names the row.
        """
        try:
            return members(self._content(), payloads, max_nesting)
        except Malformed as refusal:
            raise self._located(refusal) from None

    def prefix_paths(self, field_errors: Collection[FieldError]) -> list[FieldError]:
        """Put the row's number in front of the paths of errors: `/tags/0` in row 17 becomes `/17/tags/0`."""
        return [FieldError(pointer(self.number) + error.path, error.message) for error in field_errors]

    def _content(self) -> bytes:
        assert self.content is not None
        # A byte-order mark is allowed before the array, but not inside it.
        if not self.line and self.content.startswith(_BOM):
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


def validated(model: type[M], fields: dict[str, Any], limits: Limits) -> M:
    """Validate the members of a row and return an instance of `model`.

    Raises Invalid, with paths that begin at the row.
    """
    try:
        # `model_validate` calls this validator too, but takes a quarter longer, which matters when there are many rows.
        return cast(M, model.__pydantic_validator__.validate_python(fields, context=limits))
    except ValidationError as error:
        raise Invalid(field_errors(error)) from None


class Splitter(Protocol):
    """Splits a sequence of parts into rows.

    Call `split` with each part in turn, and `finish` after the last one. Take all rows from one call before making the
    next.
    """

    def split(self, part: bytes) -> Iterator[Row]:
        """Yield the rows that are complete after this part."""
        ...

    def finish(self) -> Iterator[Row]:
        """Yield the rows that are complete at the end of the input."""
        ...


class LineSplitter:
    """Splits JSON Lines. Blank lines are not rows, the last line needs no line break, and long lines are skipped."""

    def __init__(self, max_bytes: int) -> None:
        """A line of more than `max_bytes` bytes is skipped: its row has no content."""
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self._size = 0
        self._number = 0
        self._is_first = True
        self.line = 1

    def split(self, part: bytes) -> Iterator[Row]:
        """Yield the rows whose lines end in this part."""
        first, *others = part.split(b"\n")
        self._append(first)
        for other in others:
            if (row := self._end_line()) is not None:
                yield row
            self._append(other)

    def finish(self) -> Iterator[Row]:
        """Yield the last row, if no line break follows it."""
        if (row := self._end_line()) is not None:
            yield row

    def _append(self, piece: bytes) -> None:
        self._size += len(piece)
        # A byte-order mark before the first line, and a carriage return at the end of a line, are removed.
        if self._size <= self._max_bytes + len(_BOM) + 1:
            self._pieces.append(piece)
        else:
            self._pieces.clear()

    def _end_line(self) -> Row | None:
        content = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        is_complete = len(content) == self._size
        if self._is_first:
            content = content.removeprefix(_BOM)
        content = content.removesuffix(b"\r")
        row = None
        if not is_complete or (content and not content.isspace()):
            is_short_enough = is_complete and len(content) <= self._max_bytes
            row = Row(self._number, self.line, 0, content if is_short_enough else None)
            self._number += 1
        self._pieces, self._size, self._is_first = [], 0, False
        self.line += 1
        return row


# Brackets and commas, which are searched backwards from the end of a part for the last comma between two elements.
_MARK = re.compile(rb"[\[\]{},]")
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{},]', re.DOTALL)
_BETWEEN = re.compile(rb"[ \t\n\r,]*")
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1, ord(","): 0}
_COMMA = ord(",")
_decode_raw = msgspec.json.Decoder(list[msgspec.Raw]).decode
# White space and the closing bracket may follow the last element, so this many more bytes may be buffered.
_MAX_BYTES_AFTER_ELEMENT = 1 << 16


def _decode_elements(piece: bytes, closing: bytes) -> list[msgspec.Raw]:
    """Return the elements in a piece of an array, or an empty list if `msgspec` can't decode the piece."""
    try:
        return _decode_raw(b"[" + piece + closing)
    except (msgspec.MsgspecError, RecursionError):
        return []


class ArraySplitter:
    """Splits a JSON array into its elements.

    Raises Malformed when the text around the elements is not JSON, Invalid when the value is not an array, and TooLarge
    for an element that is too long, before all of it is buffered.

    Everything up to the last comma between two elements is decoded at once by `msgspec`. The position of that comma is
    guessed first: most programs begin each element with the same member. If `msgspec` can decode what is before the
    comma, the guess was right. Otherwise the comma is found by counting brackets, which is slower.
    """

    def __init__(self, max_bytes: int) -> None:
        """An element may have at most `max_bytes` bytes."""
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []  # the bytes after the last comma
        self._size = 0  # the number of bytes in the pieces
        self._at = 0  # the position of the first of these bytes in the body
        self._number = 0
        self._is_open = False
        self._is_no_array = False
        self._depth = 1
        self._in_string = False
        self._start = b""  # how an element began, with the comma and the byte before it: the pattern for guesses
        self._incomplete = b""  # a backslash at the end of a part: it escapes the first byte of the next part

    def split(self, part: bytes) -> Iterator[Row]:
        """Yield the elements that are followed by a comma in this part."""
        if not self._is_open and not self._is_no_array:
            part = self._after_opening_bracket(part)
        if self._is_no_array:
            self._append(part)
        if not self._is_open or not part:
            return
        part = self._incomplete + part
        backslashes = len(part) - len(part.rstrip(b"\\"))
        end = len(part) - backslashes % 2
        part, self._incomplete = part[:end], part[end:]
        comma = self._guess_comma(part)
        if comma >= 0 and (elements := _decode_elements(piece := b"".join([*self._pieces, part[:comma]]), b"]")):
            yield from self._rows(piece, elements)
            self._skip(piece)
            self._depth, self._in_string = 1, False
            part = part[comma + 1 :]
        comma = self._last_comma(part)
        if comma < 0:
            self._append(part)
            return
        piece = b"".join([*self._pieces, part[:comma]])
        yield from self._split_piece(piece)
        self._skip(piece)
        self._append(part[comma + 1 :])

    def finish(self) -> Iterator[Row]:
        """Yield the elements after the last comma that was found.

        Raises Malformed if the array is not closed, and Invalid if the body holds another value than an array.
        """
        piece = b"".join([*self._pieces, self._incomplete])
        if self._is_open:
            yield from self._split_piece(piece, is_last=True)
            return
        try:
            # A body that is not JSON at all raises Malformed here, before Invalid could say that it is not an array.
            value(decoded(_BOM + piece))
        except Malformed as refusal:
            if not piece.startswith(b"{"):
                raise
            raise Malformed(f"{refusal.detail} JSON Lines are sent as application/x-ndjson.") from None
        raise Invalid.at("", "Must be a JSON array of objects; JSON Lines are sent as application/x-ndjson.")

    def _after_opening_bracket(self, part: bytes) -> bytes:
        """Return the bytes after the opening bracket, if it has arrived.

        A byte-order mark and white space are allowed before it.
        """
        if not self._at:
            part = self._incomplete + part
            self._incomplete = b""
            if len(part) < len(_BOM) and _BOM.startswith(part):  # the rest of the mark is in the next part
                self._incomplete = part
                return b""
        rest = (part if self._at else part.removeprefix(_BOM)).lstrip(_SPACE)
        self._at += len(part) - len(rest)
        self._is_open = rest.startswith(b"[")
        self._is_no_array = bool(rest) and not self._is_open
        self._at += self._is_open
        return rest.removeprefix(b"[")

    def _append(self, piece: bytes) -> None:
        if not self._size and self._is_open:
            rest = piece.lstrip(_SPACE)
            self._at += len(piece) - len(rest)
            piece = rest
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > self._max_bytes + _MAX_BYTES_AFTER_ELEMENT:
            raise self._too_large(self._number)

    def _too_large(self, number: int) -> TooLarge:
        return TooLarge(f"Row {number} is larger than {self._max_bytes} bytes.")

    def _skip(self, piece: bytes) -> None:
        """Forget a piece whose elements were yielded, and the comma after it."""
        self._at += len(piece) + 1
        self._pieces, self._size = [], 0

    def _guess_comma(self, part: bytes) -> int:
        """Return the position of the comma before the last text that looks like the beginning of an element.

        Returns -1 if there is no such text.
        """
        # For each guess `msgspec` decodes everything that is buffered. If a long element arrived in many parts, a guess
        # for each part would decode it again and again. So there is no guess if more was buffered before than has just
        # arrived.
        if not self._start or self._size > len(part):
            return -1
        start = part.rfind(self._start)
        return -1 if start < 0 else part.index(b",", start + 1)

    def _last_comma(self, part: bytes) -> int:
        """Return the position in `part` of the last comma between two elements, or -1 if there is none.

        The depth of brackets at the end of `part` is remembered for the next part.
        """
        marks = part.replace(rb"\\", b"__").replace(rb"\"", b"__") if b"\\" in part else part
        pieces = marks.split(b'"')
        first = int(self._in_string)  # the first piece outside of strings; so is every second one after it
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

    def _split_piece(self, piece: bytes, is_last: bool = False) -> Iterator[Row]:
        """Yield the elements in a piece of the array.

        A piece ends before a comma. The last piece ends with the closing bracket.
        """
        elements = _decode_elements(piece, b"" if is_last else b"]")
        return self._rows(piece, elements) if elements else self._split_by_tokens(piece, is_last)

    def _rows(self, piece: bytes, elements: list[msgspec.Raw]) -> Iterator[Row]:
        position = end = 0
        for raw in elements:
            content = bytes(raw)
            between = _BETWEEN.match(piece, end)
            position = between.end() if between else end
            if end and not self._start and content.startswith(b'{"'):
                self._start = piece[end - 1 : position] + content[: content.find(b'"', 2) + 1]
            yield self._row(content, position)
            end = position + len(content)

    def _split_by_tokens(self, piece: bytes, is_last: bool) -> Iterator[Row]:
        """Yield the elements in a piece that `msgspec` can't decode, for example because one of them is invalid.

        Raises Malformed.
        """
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
                rest = piece[token.end() :].lstrip(_SPACE)
                if rest or not is_last:
                    raise Malformed(f"Not JSON: Extra data at byte {self._at + len(piece) - len(rest)}.")
                return
        if is_last:
            raise Malformed(f"Not JSON: the array is not closed. The body ends at byte {self._at + len(piece)}.")
        yield self._row(piece[start:], start)

    def _row(self, content: bytes, position: int) -> Row:
        stripped = content.lstrip(_SPACE)
        position += len(content) - len(stripped)
        stripped = stripped.rstrip(_SPACE)
        if len(stripped) > self._max_bytes:
            raise self._too_large(self._number)
        row = Row(self._number, 0, self._at + position, stripped)
        self._number += 1
        return row
