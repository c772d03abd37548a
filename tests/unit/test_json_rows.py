"""Rows out of bytes that come in parts: against the standard library, and the same however they are cut."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from log10_server.errors import Invalid, Malformed, Refusal, TooLarge
from log10_server.web.http.json_rows import ArraySplitter, LineSplitter, Row, Splitter

MOST = 1 << 20


def fed(splitter: Splitter, parts: Iterable[bytes]) -> Iterator[bytes | None]:
    for part in parts:
        for row in splitter.split(part):
            yield row.content
    for row in splitter.finish():
        yield row.content


def outcome(splitter: Splitter, parts: Sequence[bytes]) -> tuple[list[bytes | None], str]:
    """The rows that came, and how it was refused after them, if it was."""
    rows: list[bytes | None] = []
    try:
        rows.extend(fed(splitter, parts))
    except Refusal as refusal:
        return [], f"{type(refusal).__name__}: {refusal.detail}"
    return rows, ""


def elements(text: bytes, *, size: int | None = None) -> list[Any]:
    """The elements of an array, as values; the text comes in parts of `size` bytes. Raises what a row's reader does."""
    parts = [text] if size is None else [text[start : start + size] for start in range(0, len(text), size)]
    return [json.loads((content or b"").decode()) for content in fed(ArraySplitter(MOST), parts)]


def no_constant(_word: str) -> Any:
    raise ValueError


def strict(text: str) -> Any:
    return json.loads(text, parse_constant=no_constant)


def accepted(text: bytes, size: int) -> list[Any] | None:
    """The values of all rows; None when the array, or one of its rows, is refused."""
    splitter = ArraySplitter(MOST)
    values = []
    try:
        rows = [row for start in range(0, len(text), size) for row in splitter.split(text[start : start + size])]
        rows += splitter.finish()
        for row in rows:
            if row.content is None or row.content.startswith(b"\xef\xbb\xbf"):
                return None
            values.append(strict(row.content.decode()))
    except (Malformed, Invalid, ValueError):
        return None
    return values


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
pieces_of_json = st.lists(
    st.sampled_from(
        [
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            '"',
            "\\",
            '\\"',
            "\\\\",
            '"a"',
            '{"a":1}',
            "1",
            " ",
            "\n",
            "null",
            "é",
            "\ufeff",
        ]
    ),
    max_size=14,
).map("".join)


@given(st.lists(json_values, max_size=6), st.sampled_from([None, 1, "\t"]), st.booleans(), st.integers(1, 9))
def test_the_elements_are_those_of_the_standard_library(
    values: list[Any], indent: int | str | None, is_ascii: bool, size: int
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=is_ascii)
    try:
        body = text.encode()
    except UnicodeEncodeError:
        return

    assert elements(body, size=size) == json.loads(text)


@given(pieces_of_json, st.integers(1, 9))
@example("[1]", 1)
@example("[1,]", 1)
@example("[,1]", 2)
@example("[1,,2]", 3)
@example("[],[]", 9)
@example("[1]]],[[[2]", 1)
@example('[{"a":"]"},"\\\\",{}]', 1)
@example("\ufeff[1]", 1)
@example("\ufeff\ufeff[1]", 1)
@example("[\ufeff1]", 1)
@example('[{} \\", {}]', 2)
def test_what_the_standard_library_refuses_is_refused_and_nothing_else(inside: str, size: int) -> None:
    for text in (inside, f"[{inside}]"):
        try:
            expected = strict(text.removeprefix("\ufeff"))
        except ValueError:
            expected = None

        assert accepted(text.encode(), size) == (expected if isinstance(expected, list) else None), text


@given(pieces_of_json, st.lists(st.integers(0, 40), max_size=6))
def test_how_a_text_is_cut_changes_nothing(inside: str, cuts: list[int]) -> None:
    for text in (inside.encode(), f"[{inside}]".encode()):
        places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
        parts = [text[start:end] for start, end in pairwise(places)]

        assert judged(ArraySplitter(MOST), parts) == judged(ArraySplitter(MOST), [text])
        assert outcome(LineSplitter(MOST), parts) == outcome(LineSplitter(MOST), [text])


def judged(splitter: Splitter, parts: Sequence[bytes]) -> list[Any]:
    """Every row as its reader has it, to the first that is not JSON, with the words of the refusal."""
    outcomes: list[Any] = []
    try:
        for rows in [*(splitter.split(part) for part in parts), splitter.finish()]:
            for row in rows:
                try:
                    outcomes.append(row.members((), 200))
                except Invalid as refusal:
                    outcomes.append(row.prefix_paths(refusal.field_errors))
    except Refusal as refusal:
        outcomes.append(refusal.detail)
    return outcomes


@pytest.mark.parametrize("levels", [100, 900, 1100, 5000, 100_000])
@pytest.mark.parametrize("size", [1000, math.inf])
def test_rows_of_any_depth_are_told_apart(levels: int, size: float) -> None:
    deep = b'{"a":' * levels + b"1" + b"}" * levels
    text = b"[{}," + deep + b',{"b":"]"}]'
    step = int(min(size, len(text)))

    rows = list(fed(ArraySplitter(MOST), [text[start : start + step] for start in range(0, len(text), step)]))

    assert rows == [b"{}", deep, b'{"b":"]"}']


@given(st.integers(1, 60), st.lists(st.sampled_from(['a},{"id":1', "b", '\\"', "é"]), max_size=3), st.integers(0, 9))
def test_what_looks_as_the_start_of_an_element_is_one_only_between_elements(
    size: int, texts: list[str], wrong: int
) -> None:
    """The same start stands inside of elements, and inside of texts."""
    inner = [{"id": number, "of": texts} for number in range(3)]
    rows = [{"id": 0}, {"id": 1, "list": inner, "text": "".join(texts)}, {"id": 2}, {"id": 3, "x": {"a": inner}}]
    text = json.dumps(rows * 3, separators=(",", ":")).encode()
    broken = text.replace(b'{"id":3', b'{"id":]', 1) if wrong == 0 else text[:-wrong]

    assert elements(text, size=size) == rows * 3
    assert accepted(broken, size) is None


def test_a_lone_surrogate_passes() -> None:
    rows = [b'{"a":"\\ud83d"}', b"{}", b'{"b":"\\""}']

    assert list(fed(ArraySplitter(MOST), [b"[" + b", ".join(rows) + b"]"])) == rows


def test_a_long_text_of_escapes_is_one_row() -> None:
    row = b'{"a":"' + b'\\n\\\\\\"' * 50_000 + b'"}'

    for size in (7, 65_536):
        text = b"[" + row + b",\n" + row + b"]"
        assert list(fed(ArraySplitter(MOST), [text[i : i + size] for i in range(0, len(text), size)])) == [row, row]


def test_a_place_is_told_in_bytes_of_the_body() -> None:
    text = '\ufeff \n[ {"a":"é"} ,\n{"é" 1}, {}]'.encode()

    for size in (1, 2, 5, len(text)):
        outcomes = judged(ArraySplitter(MOST), [text[start : start + size] for start in range(0, len(text), size)])
        assert outcomes == [{"a": "é"}, f"Row 1 is not JSON: Expecting ':' at byte {text.index(b'1}')}."]


def test_a_place_in_a_line_is_told_by_the_line() -> None:
    text = '\ufeff\n{"a":1}\r\n \t\r\n{"é" 1}\n{}'.encode()

    for size in (1, 2, 5, len(text)):
        outcomes = judged(LineSplitter(MOST), [text[start : start + size] for start in range(0, len(text), size)])
        assert outcomes == [{"a": 1}, "Row 1 is not JSON: Expecting ':' at line 4, column 6."]


def test_what_is_not_utf_8_is_told_by_its_row() -> None:
    outcomes = judged(ArraySplitter(MOST), [b'[{},{"a":"\xff"}]'])

    assert outcomes[0] == {}
    assert outcomes[1].startswith("Row 1 (from byte 4 on): ")


@pytest.mark.parametrize(
    "text",
    [b"", b" ", b"\xef\xbb", b"[", b"[1", b"[1,", b'["', b"[1]x", b"{", b"nul", b"[1] []", b"[}", b'[{"a":1}}', b"[1}"],
)
def test_what_is_no_array_is_not_json(text: bytes) -> None:
    for size in (1, len(text) or 1):
        assert (
            outcome(ArraySplitter(MOST), [text[i : i + size] for i in range(0, len(text), size)])[1][:9] == "Malformed"
        )


@pytest.mark.parametrize("text", [b"{}", b" null", b"1", b'"[]"', b'\xef\xbb\xbf{"a":[{}]}'])
def test_another_value_than_an_array_is_invalid(text: bytes) -> None:
    for size in (1, len(text)):
        message = outcome(ArraySplitter(MOST), [text[i : i + size] for i in range(0, len(text), size)])[1]
        assert message.startswith("Invalid: Must be a JSON array")


def test_an_element_that_is_too_long_is_refused() -> None:
    fits = b'"' + b"x" * 98 + b'"'

    assert list(fed(ArraySplitter(100), [b"[ " + fits + b" , " + fits + b" ] "])) == [fits, fits]
    with pytest.raises(TooLarge, match="Row 1"):
        list(fed(ArraySplitter(100), [b"[1," + fits[:9], b"x" + fits[9:] + b"]"]))


def test_an_element_without_an_end_is_refused_before_all_of_it_is_held() -> None:
    taken: list[int] = []

    def parts() -> Iterator[bytes]:
        yield b'["'
        for number in range(1000):
            taken.append(number)
            yield b"x" * 1000

    with pytest.raises(TooLarge):
        list(fed(ArraySplitter(100), parts()))

    assert len(taken) < 100


def test_a_line_that_is_too_long_is_passed_over_and_never_held() -> None:
    splitter = LineSplitter(100)
    rows: list[Row] = []
    for part in [b"a\n", *[b"x" * 1000] * 100, b"\n\n", b"b" * 100 + b"\r\n", b"c" * 101]:
        rows += splitter.split(part)
        assert sum(map(len, splitter._pieces)) <= 200
    rows += splitter.finish()

    assert [(row.number, row.line, row.content) for row in rows] == [
        (0, 1, b"a"),
        (1, 2, None),
        (2, 4, b"b" * 100),
        (3, 5, None),
    ]
