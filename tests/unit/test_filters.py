"""The filter language over `json_values`: what it means, and that an error names the position where it is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from log10_server.services.filters import MAX_CHARACTERS, MAX_COMPARISONS, FilterError, parse_filter

VALUES: dict[str, Any] = {
    "Coverage": 4,
    "score": 0.5,
    "word": "good",
    "spam": True,
    "ham": False,
    "nothing": None,
    "Tone of voice": "rude",
    "a-b_c": 1,
    "größe": 7,
    "2nd": "two",
    "10": "ten",
    "1.5": "dotted",
    "x.y": "plain",
    "and": 1,
    "true": "named so",
    "quote\"d 'name'": 3,
    "back\\slash": 4,
    "flags": {"spam": True, "deep": {"count": 3}, "with space": "yes"},
    "list": [10, {"a": "b"}, [True]],
    "empty": "",
    "big": 12345678901234567890,
    "": "blank name",
}

TRUE = [
    "Coverage = 4",
    "Coverage == 4",
    "Coverage=4",
    "  Coverage   =\n4\t",
    "Coverage = 4.0",
    "Coverage = 40e-1",
    "Coverage = +4",
    "Coverage != 5",
    "Coverage < 5",
    "Coverage <= 4",
    "Coverage > -1",
    "Coverage >= 4",
    "Coverage > 3.99",
    "score = 0.5",
    "score < 1",
    'word = "good"',
    "word = 'good'",
    'word != "bad"',
    'word > "goo"',
    'word <= "good"',
    'word < "gooe"',
    "spam = true",
    "spam = TRUE",
    "spam != false",
    "ham = false",
    "ham = False",
    'empty = ""',
    "big = 12345678901234567890",
    "big != 12345678901234567891",
    # names
    '"Tone of voice" = "rude"',
    "'Tone of voice' = 'rude'",
    "a-b_c = 1",
    "größe >= 7",
    '2nd = "two"',
    '"10" = "ten"',
    '10 = "ten"',
    '"1.5" = "dotted"',
    '"x.y" = "plain"',
    '"and" = 1',
    "\"true\" = 'named so'",
    '"quote\\"d \'name\'" = 3',
    "'quote\"d \\'name\\'' = 3",
    '"back\\\\slash" = 4',
    '"" = "blank name"',
    # paths
    "flags.spam = true",
    "flags.deep.count > 2",
    "flags . deep . count = 3",
    '"flags"."deep"."count" = 3',
    'flags."with space" = "yes"',
    "list.0 = 10",
    'list.1.a = "b"',
    "list.2.0 = true",
    # words
    "Coverage = 4 and spam = true",
    "Coverage = 5 or spam = true",
    "not Coverage = 5",
    "NOT Coverage = 5 AND spam = TRUE OR ham = true",
    "not not Coverage = 4",
    "not (Coverage = 5 or spam = false)",
    "not Coverage = 5 and not spam = false",
    "(Coverage = 4)",
    "((Coverage = 4) and (spam = true))",
    # `and` binds closer than `or`, `not` closer than `and`
    "spam = true or ham = true and Coverage = 5",
    "Coverage = 5 and ham = true or spam = true",
    "(spam = true or ham = true) and Coverage = 4",
    # what is not there, or of another type, equals nothing
    "missing != 1",
    'missing != ""',
    "nothing != false",
    "nothing != 0",
    "not missing = 1",
    'Coverage != "4"',
    "spam != 1",
    "ham != 0",
    "flags != 1",
    "Coverage.deeper != 1",
    "list.9 != 1",
]
FALSE = [
    "Coverage = 5",
    "Coverage < 4",
    'Coverage = "4"',
    'Coverage < "5"',
    "Coverage > true",
    "spam = 1",
    "spam >= true",
    "ham < true",
    'word = "Good"',
    "word > 1",
    "missing = 1",
    "missing < 1",
    "missing >= 1",
    "missing.deeper = 1",
    "nothing = false",
    "nothing = 0",
    'nothing = ""',
    "nothing < 1",
    "flags = true",
    "list = 10",
    "list.0.0 = 10",
    "list.10 = 10",
    "word.0 = 'g'",
    "coverage = 4",
    '" Coverage" = 4',
    "x.y = 'plain'",
    "(spam = true or ham = true) and Coverage = 5",
    "spam = true and not Coverage = 4",
    "not (Coverage = 4)",
    "big = 12345678901234567891",
]


@pytest.mark.parametrize("filter_text", TRUE)
def test_values_satisfy_the_filter(filter_text: str) -> None:
    assert parse_filter(filter_text)(VALUES) is True


@pytest.mark.parametrize("filter_text", FALSE)
def test_values_do_not_satisfy_the_filter(filter_text: str) -> None:
    assert parse_filter(filter_text)(VALUES) is False


WRONG = [
    ("", 0, "the name of a field"),
    ("   ", 3, "the name of a field"),
    ("Coverage", 8, "one of = != < <= > >="),
    ("Coverage 5", 9, "one of = != < <= > >="),
    ("Coverage <=", 11, "a number, true, false or a string in quotes"),
    ("Coverage <= five", 12, "not `five`"),
    ("Coverage <= null", 12, "not `null`"),
    ("Coverage <= 5 6", 14, "`and`, `or` or the end"),
    ("Coverage <= 5 and", 17, "the name of a field"),
    ("Coverage <= 5 )", 14, "not `)`"),
    ("(Coverage <= 5", 14, "`)`"),
    ("()", 1, "the name of a field"),
    ("a = 1 && b = 2", 6, "Unexpected '&'"),
    ("a = 1; drop", 5, "Unexpected ';'"),
    ("a ~ 1", 2, "Unexpected '~'"),
    ("a = 'open", 4, "A quote is not closed"),
    ('"open = 1', 0, "A quote is not closed"),
    ("a = 'escaped\\'", 4, "A quote is not closed"),
    ("a. = 1", 3, "the name of a field"),
    (".a = 1", 0, "the name of a field"),
    ("a..b = 1", 2, "the name of a field"),
    ("a => 1", 3, "a number, true, false or a string in quotes"),
    ("a = = 1", 4, "a number"),
    ("a <> 1", 3, "a number"),
    ("a = 1 or", 8, "the name of a field"),
    ("not", 3, ""),
    ("1 = a", 4, "a number"),
    ("a = b", 4, "not `b`"),
    ("a = 1abc", 4, ""),
    ("a = 1.2.3", 7, ""),
    ("a = $x", 4, "Unexpected '$'"),
    ("größe <= §", 9, "Unexpected '§'"),
    ("a = 🌙", 4, "Unexpected"),
    ("(" * 200 + "a = 1" + ")" * 200, 101, "nested deeper"),
    ("not " * 200 + "a = 1", 408, "nested deeper"),
    ("a = " + "9" * 5000, 4, "a number"),
    ("a = 1" + " " * MAX_CHARACTERS, MAX_CHARACTERS, "longer than"),
]


@pytest.mark.parametrize(("filter_text", "position", "what"), WRONG)
def test_a_wrong_filter_is_told_where_it_is_wrong(filter_text: str, position: int, what: str) -> None:
    with pytest.raises(FilterError) as raised:
        parse_filter(filter_text)

    assert raised.value.position == position, raised.value
    assert f"at character {position + 1}" in str(raised.value)
    assert what in str(raised.value)


def test_a_hundred_levels_are_read() -> None:
    assert parse_filter("(" * 100 + "a = 1" + ")" * 100)({"a": 1})
    assert parse_filter("not " * 100 + "a = 1")({"a": 1})


def test_a_filter_of_the_greatest_length_is_read_at_once() -> None:
    longest = "a = 2 or b = '" + "x" * (MAX_CHARACTERS - 15) + "'"

    assert parse_filter(longest)({"a": 2})


def test_the_number_of_comparisons_has_an_end() -> None:
    parts = ["a = 1"] * MAX_COMPARISONS

    assert not parse_filter(" or ".join(parts))({"a": 2})
    with pytest.raises(FilterError, match="more than 100 comparisons"):
        parse_filter(" or ".join([*parts, "a = 2"]))


@pytest.mark.parametrize("values", [None, 1, "text", [], [1], True, {}])
def test_values_of_any_form_are_looked_into(values: Any) -> None:
    assert not parse_filter("a = 1")(values)
    assert parse_filter("a != 1")(values)
    assert not parse_filter("a.b > 1")(values)


def quoted(text: str) -> str:
    """As a person would write it in a filter."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


LITERALS = st.one_of(
    st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20)
)


def spelled(literal: Any) -> str:
    return quoted(literal) if isinstance(literal, str) else json.dumps(literal)


@given(name=st.text(max_size=20), literal=LITERALS)
def test_every_name_and_literal_can_be_written_in_a_filter(name: str, literal: Any) -> None:
    test = parse_filter(f"{quoted(name)} = {spelled(literal)}")

    assert test({name: literal})
    assert not test({})
    assert not parse_filter(f"{quoted(name)} != {spelled(literal)}")({name: literal})


@given(left=LITERALS, right=LITERALS)
def test_the_comparison_signs_agree_with_one_another(left: Any, right: Any) -> None:
    holds = {
        sign: parse_filter(f"a {sign} {spelled(right)}")({"a": left}) for sign in ("=", "!=", "<", "<=", ">", ">=")
    }

    assert holds["="] is not holds["!="]
    comparable = isinstance(left, str) == isinstance(right, str) and not isinstance(left, bool) | isinstance(
        right, bool
    )
    if comparable:
        assert holds["<="] == (holds["<"] or holds["="])
        assert holds[">="] is not holds["<"]
        assert holds[">"] is not holds["<="]
    else:
        assert not any(holds[sign] for sign in ("<", "<=", ">", ">="))


FILTERS = st.recursive(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["=", "!=", "<", ">="]), st.integers(0, 2)),
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=12,
)
BINDING = {"or": 0, "and": 1, "not": 2}


def rendered(tree: Any, outer: int = 0) -> str:
    """The filter, with parentheses only where they are needed."""
    if len(tree) == 3:
        return f"{tree[0]} {tree[1]} {tree[2]}"
    word, inner = tree
    binding = BINDING[word]
    text = (
        f"not {rendered(inner, 2)}"
        if word == "not"
        else f" {word} ".join(rendered(part, binding + 1) for part in inner)
    )
    return f"({text})" if binding < outer else text


def holds(tree: Any, values: dict[str, int]) -> bool:
    if len(tree) == 3:
        name, sign, number = tree
        actual: int = values[name]
        return bool({"=": actual == number, "!=": actual != number, "<": actual < number, ">=": actual >= number}[sign])
    word, inner = tree
    if word == "not":
        return not holds(inner, values)
    parts = [holds(part, values) for part in inner]
    return any(parts) if word == "or" else all(parts)


@given(tree=FILTERS, values=st.fixed_dictionaries({name: st.integers(0, 2) for name in "abc"}))
def test_a_filter_means_what_its_parts_mean(tree: Any, values: dict[str, int]) -> None:
    assert parse_filter(rendered(tree))(values) is holds(tree, values)


@given(st.text(alphabet="ab.()\"'\\ =<>!1-notrd\n", max_size=40))
def test_any_text_is_read_or_refused_at_a_place_inside_it(text: str) -> None:
    position, test = 0, None
    try:
        test = parse_filter(text)
    except FilterError as error:
        position = error.position

    assert 0 <= position <= len(text)
    assert test is None or test({"a": 1, "b": {"a": "x"}}) in (True, False)
