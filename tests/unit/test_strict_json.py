"""Strict JSON: what is refused, what is kept as it came, and what counts as equal."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from log10_server import strict_json
from log10_server.errors import Invalid, Malformed
from log10_server.strict_json import (
    JsonText,
    canonical,
    check,
    check_nesting,
    exact,
    members,
    value,
    written,
    written_texts,
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=6)  # half of a surrogate pair only one of both ways splits
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)

NOT_JSON = [
    "nul", "NaN", "Infinity", "-Infinity", "01", "-01", "00", "1.", ".5", "-", "+1", "1e", "1e+", "0x1", "1_0",
    "[1,]", "[,1]", "[1 2]", "{1:2}", "{'a':1}", '{"a" 1}', '{"a":1,}', '{"a":1 "b":2}', '{"a"}', '"\\x"', '"\\u12"',
    '"\\u12g4"', '"a\nb"', '"\x00"', '"\x1f"', '"\t"', '"open', "[1", "{", "]", "1 2", "truex", "/**/1", "\ufeff1", "\x0b1",
    "\u00a01", "1\x0c", "[" * 100_000, "\uff11",
]  # fmt: skip
JSON = [
    "null", "true", "0", "-0", "-0.0", "1E+2", "1e-400", "1e400", "-1e400", "0.10", "9" * 5000, '""', '"\\u0000"',
    '"\\ud83d"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"😀"', '"\x7f\u2028"', '"\\/\\b\\f\\n\\r\\t\\"\\\\"', "[]", "{}",
    '{"":null}', '{"a":1,"a":2}', '{"\\ud800":[1.0,1]}', "[ 1 ,\t2\r\n]", "[" * 150 + "]" * 150,
]  # fmt: skip


def split(text: str, max_nesting: int = 200) -> dict[str, Any]:
    return members(text.encode(), {"request"}, max_nesting)


@pytest.mark.parametrize("text", ["", "  ", "\ufeff", *NOT_JSON])
def test_what_is_not_json_is_malformed_as_a_value(text: str) -> None:
    with pytest.raises(Malformed):
        value(text)
    with pytest.raises(Malformed):
        check(text)


@pytest.mark.parametrize("text", [*JSON, '"\ud83d"', " 1 "])
def test_json_passes_the_check_that_builds_no_value(text: str) -> None:
    check(text)


@given(st.text('{}[]":,\\u0ae1-. tn', max_size=24))
def test_what_the_check_accepts_can_be_parsed(text: str) -> None:
    try:
        value(text)
    except Malformed:
        with pytest.raises(Malformed):
            check(text)
    else:
        check(text)


@pytest.mark.parametrize("text", NOT_JSON)
@pytest.mark.parametrize("frame", ['{"request":%s}', '{"request":{"a":%s}}', '{"request":[%s]}', '{"other":%s}'])
def test_what_is_not_json_is_malformed_within_a_body(text: str, frame: str) -> None:
    with pytest.raises(Malformed):
        split(frame.replace("%s", text))


@pytest.mark.parametrize("text", JSON)
@pytest.mark.parametrize("space", ["", " ", "\r\n\t "])
def test_a_payload_is_kept_as_the_text_that_came(text: str, space: str) -> None:
    members = split(f'{space}{{{space}"request"{space}:{space}{text}{space},"x":1{space}}}{space}')

    assert members == {"request": None if text == "null" else text, "x": 1}
    assert text == "null" or isinstance(members["request"], JsonText)


@pytest.mark.parametrize("text", JSON)
def test_what_msgspec_splits_the_standard_library_splits_alike(text: str) -> None:
    body = f'{{"a":{text} , "b" :{text}, "a": 1 }}'

    with_care = strict_json._split_slowly(body)

    assert with_care == {"a": "1", "b": text}
    try:
        fast = {name: str(raw, "utf-8") for name, raw in msgspec.json.decode(body, type=dict[str, msgspec.Raw]).items()}
    except msgspec.DecodeError:
        fast = with_care  # lone surrogates; `members` asks the standard library then
    assert fast == with_care


@given(st.dictionaries(st.text(max_size=4), values, max_size=5), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_both_ways_to_split_agree(body: dict[str, Any], indent: Any, ensure_ascii: bool) -> None:
    text = json.dumps(body, indent=indent, ensure_ascii=ensure_ascii)

    with_care = strict_json._split_slowly(text)

    fast = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    assert {name: str(raw, "utf-8") for name, raw in fast.items()} == with_care
    assert {name: json.loads(part) for name, part in with_care.items()} == body


@given(st.text('{}[]":,\\u0ae1-. tn', max_size=24))
def test_what_one_way_to_split_takes_the_other_takes(inside: str) -> None:
    text = '{"a":' + inside + "}"

    try:
        with_care: Any = strict_json._split_slowly(text)
    except Malformed:
        with_care = None
    try:
        fast: Any = {n: str(r, "utf-8") for n, r in msgspec.json.decode(text, type=dict[str, msgspec.Raw]).items()}
    except msgspec.DecodeError:
        fast = None
    assert fast is None or fast == with_care


@given(st.text("0123456789+-.eE ", max_size=17) | st.floats(allow_nan=False, allow_infinity=False).map(repr))
def test_what_one_way_to_read_a_number_takes_the_other_takes(text: str) -> None:
    try:
        with_care = strict_json._READER.decode(text)
    except ValueError:
        with pytest.raises(Malformed):
            value(text)
    else:
        assert repr(value(text)) == repr(with_care)  # 1 and 1.0 are equal, and so are 0.0 and -0.0


@pytest.mark.parametrize("text", ["[]", "1", '"x"', "null", "true", '[{"request":{}}]'])
def test_another_value_than_an_object_is_invalid(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        split(text)

    assert [fault.path for fault in refused.value.field_errors] == [""]


@pytest.mark.parametrize("tail", ["x", "{}", "}", ",", "\x00", "\ufeff"])
def test_nothing_may_follow_the_object(tail: str) -> None:
    with pytest.raises(Malformed):
        split('{"a":1}' + tail)


def test_a_byte_order_mark_is_allowed_once() -> None:
    assert members(b'\xef\xbb\xbf{"a":1}', set(), 200) == {"a": 1}
    with pytest.raises(Malformed):
        members(b'\xef\xbb\xbf\xef\xbb\xbf{"a":1}', set(), 200)


@pytest.mark.parametrize(
    "body",
    [b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\x80"}', b"\xff\xfe{\0}\0", b'{"a":"\xf4\x90\x80\x80"}'],
)
def test_a_body_that_is_not_utf_8_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match="UTF-8"):
        members(body, {"a"}, 200)


def test_with_duplicate_members_the_last_counts() -> None:
    assert split('{"request":{"a":1},"req\\u0075est":{"b":2},"x":1,"x":2}') == {"request": '{"b":2}', "x": 2}


@pytest.mark.parametrize("text", ["1e400", "9" * 4001, "-" + "9" * 4001, "-1e999999999999"])
def test_a_number_that_can_not_be_held_reads_as_infinity(text: str) -> None:
    assert math.isinf(value(text))
    assert (value(text) < 0) == text.startswith("-")


@pytest.mark.parametrize("text", ["9" * 4000, "-" + "9" * 3999, "1" + "0" * 400])
def test_a_whole_number_of_up_to_4000_digits_reads_as_itself(text: str) -> None:
    assert value(text) == int(text)


def test_an_exact_value_refuses_what_can_not_be_held_with_its_pointer() -> None:
    with pytest.raises(Invalid) as refused:
        exact('{"a/b":[1,1e400,{"~":-1E999}],"c":' + "9" * 4001 + "}", "/json_values")

    assert [fault.path for fault in refused.value.field_errors] == [
        "/json_values/a~1b/1",
        "/json_values/a~1b/2/~0",
        "/json_values/c",
    ]


@given(values)
def test_an_exact_value_is_what_was_written(original: Any) -> None:
    assert exact(written(original), "") == original


@given(st.text(st.characters(codec=None, categories=None) | st.sampled_from("\ud800\udfff\0"), max_size=8))
def test_any_text_can_be_written_in_ascii_and_read_back(text: str) -> None:
    assert written(text).isascii()
    assert value(written(text)) == text


@given(st.lists(st.text(st.characters(codec=None, categories=None), max_size=8), max_size=4))
def test_texts_are_written_as_all_else_is(texts: list[str]) -> None:
    assert written_texts(texts) == written(texts)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_json_is_never_written(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        written([number])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1", "1.0"), ("1", "1e0"), ("100", "1E+2"), ("0", "-0"), ("0", "0.000e5"), ("0.1", "1e-1"), ("-1.50", "-15e-1"),
        ("1e400", "10e399"), ("9" * 5000, "9" * 5000 + ".0"), ('{"a":1,"b":2}', '{"b":2.0,"a":1}'), ('"\\u0041"', '"A"'),
        ('{"a":1,"a":2}', '{"a":2}'), ('"\\ud83d\\ude00"', '"😀"'), ("[ ]", "[]"), ('"\\/"', '"/"'),
    ],
)  # fmt: skip
def test_equal_values_share_their_canonical_spelling(left: str, right: str) -> None:
    assert canonical(left) == canonical(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1", "2"), ("1", "-1"), ("1", '"1"'), ("1", "true"), ("0", "false"), ("0", "null"), ("[]", "{}"), ("[1,2]", "[2,1]"),
        ("1", "10"), ("1e400", "1e401"), ("9007199254740993", "9007199254740992"), ("0.1", "0.10000000000000001"),
        ('"a"', '"A"'), ('"é"', '"e\\u0301"'), ('{"a":null}', "{}"), ('"1e0"', "1"), ('["a,b"]', '["a","b"]'), ("[[]]", "[]"),
        ('{"a":"}"}', '{"a":{}}'), ('"\\ud83d"', '"\\ud83e"'),
    ],
)  # fmt: skip
def test_different_values_have_different_canonical_spellings(left: str, right: str) -> None:
    assert canonical(left) != canonical(right)


def strictly_equal(left: Any, right: Any) -> bool:
    """Equal as JSON values: in Python True equals 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(strictly_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(strictly_equal(left[name], right[name]) for name in left)
    return bool(left == right)


few = st.recursive(
    st.sampled_from([0, -0.0, 1, 1.0, True, False, None, "", "1", "a", 10, 1e1, 0.5, 2**40, 2.0**40]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@given(few, few)
def test_canonical_spellings_are_equal_exactly_when_the_values_are(left: Any, right: Any) -> None:
    assert (canonical(json.dumps(left)) == canonical(json.dumps(right))) == strictly_equal(left, right)


@given(values)
def test_a_canonical_spelling_does_not_depend_on_order_or_space(original: Any) -> None:
    assert canonical(json.dumps(original)) == canonical(
        json.dumps(original, sort_keys=True, indent=2, ensure_ascii=False)
    )


def depth(read: Any) -> int:
    """How deep a value nests: a scalar not at all."""
    if isinstance(read, dict):
        return 1 + max(map(depth, read.values()), default=0)
    if isinstance(read, list):
        return 1 + max(map(depth, read), default=0)
    return 0


nested = st.recursive(
    st.sampled_from(["[", "]{", '"', '\\"[', "\\", "\\\\", "x", '[[["', "é{", 1]),
    lambda inner: (
        st.lists(inner, min_size=0, max_size=3) | st.dictionaries(st.sampled_from(["a", "[", '"{']), inner, max_size=2)
    ),
    max_leaves=40,
)


@given(document=nested, more=st.integers(0, 15), ensure_ascii=st.booleans())
def test_nesting_is_counted_as_a_reader_counts_it(document: Any, more: int, ensure_ascii: bool) -> None:
    for _ in range(more):
        document = [document, {}]
    text = json.dumps(document, ensure_ascii=ensure_ascii)
    deep = depth(document)

    for limit in {8, 9, deep + 1, max(deep, 8)}:
        refused = False
        try:
            check_nesting(text, limit)
        except Invalid:
            refused = True
        assert refused == (deep > limit), (deep, limit)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"]":', "}]")])
def test_the_deepest_that_is_allowed_is_allowed_and_one_more_is_not(opening: str, closing: str) -> None:
    levels = 199 // (opening.count("[") + opening.count("{"))
    body = '{"request":' + opening * levels + "1" + closing * levels + "}"

    assert split(body, levels * (opening.count("[") + opening.count("{")) + 1)
    with pytest.raises(Invalid, match="deeper"):
        split(body, levels * (opening.count("[") + opening.count("{")))


def test_many_brackets_that_do_not_nest_are_allowed() -> None:
    check_nesting("[" + ",".join(["[]"] * 50_000) + "]", 8)
    check_nesting('["' + "[" * 50_000 + '"]', 8)
