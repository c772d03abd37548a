"""The filter language over `json_values`: `Coverage <= 5 and not ("Tone of voice" = "rude" or flags.spam = true)`.

    filter     = all { "or" all }
    all        = test { "and" test }
    test       = "not" test | "(" filter ")" | comparison
    comparison = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) literal
    field      = name { "." name }          a name with characters other than letters, digits, _ and - is quoted
    literal    = number | "true" | "false" | a string in quotes

`=` is true only for values of the same type, and `!=` is its opposite. The other operators compare numbers with numbers
and strings with strings, by code point. A missing field equals nothing. `and`, `or`, `not`, `true` and `false` may be
written in any case. In quotes, `\\` takes the next character literally.
"""

import operator
import re
from collections.abc import Callable
from typing import Any, NamedTuple

Predicate = Callable[[Any], bool]
Literal = bool | int | float | str

MAX_CHARACTERS = 10_000
MAX_COMPARISONS = 100
_MAX_NESTING = 100
_MAX_DIGITS = 4_000


class FilterError(Exception):
    """A filter that can't be parsed. The text says what is wrong; `position`, counted from 0, says where."""

    def __init__(self, problem: str, position: int) -> None:
        super().__init__(f"{problem} at character {position + 1}")
        self.position = position


def parse_filter(text: str) -> Predicate:
    """Parse a filter into a function that says whether values satisfy it.

    The function takes `json_values` after they were parsed from JSON. Raises FilterError.
    """
    if len(text) > MAX_CHARACTERS:
        raise FilterError(f"The filter is longer than {MAX_CHARACTERS} characters", MAX_CHARACTERS)
    reader = _Reader(text)
    test = reader.disjunction(0)
    reader.end()
    return test


class _Token(NamedTuple):
    kind: str  # "quoted", "number", "word", "operator", "mark" or "end"
    text: str
    position: int


_TOKENS = re.compile(
    r"""\s*(?:
        (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<number>[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w-]))
      | (?P<word>[\w-]+)
      | (?P<operator>!=|<=|>=|==|=|<|>)
      | (?P<mark>[().])
      | (?P<end>$)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class _Reader:
    """Reads a filter from left to right, one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._comparisons = 0
        self._next = self._token(0)

    def disjunction(self, depth: int) -> Predicate:
        if depth > _MAX_NESTING:
            raise FilterError(f"The filter is nested deeper than {_MAX_NESTING} levels", self._next.position)
        tests = [self._all(depth)]
        while self._takes_word("or"):
            tests.append(self._all(depth))
        return tests[0] if len(tests) == 1 else lambda values: any(test(values) for test in tests)

    def end(self) -> None:
        if self._next.kind != "end":
            raise self._expected("`and`, `or` or the end")

    def _all(self, depth: int) -> Predicate:
        tests = [self._test(depth)]
        while self._takes_word("and"):
            tests.append(self._test(depth))
        return tests[0] if len(tests) == 1 else lambda values: all(test(values) for test in tests)

    def _test(self, depth: int) -> Predicate:
        if self._takes_word("not"):
            if depth > _MAX_NESTING:
                raise FilterError(f"The filter is nested deeper than {_MAX_NESTING} levels", self._next.position)
            negated = self._test(depth + 1)
            return lambda values: not negated(values)
        if self._takes("mark", "("):
            test = self.disjunction(depth + 1)
            if not self._takes("mark", ")"):
                raise self._expected("`)`")
            return test
        return self._comparison()

    def _comparison(self) -> Predicate:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise FilterError(f"The filter has more than {MAX_COMPARISONS} comparisons", self._next.position)
        path = self._field()
        if self._next.kind != "operator":
            raise self._expected("one of = != < <= > >=")
        sign = self._take().text
        literal = self._literal()
        if sign in _ORDERS:
            order = _ORDERS[sign]
            return lambda values: _is_ordered(order, _member(values, path), literal)
        if sign == "!=":
            return lambda values: not _is_equal(_member(values, path), literal)
        return lambda values: _is_equal(_member(values, path), literal)

    def _field(self) -> list[str]:
        path = self._names()
        while self._takes("mark", "."):
            path += self._names()
        return path

    def _names(self) -> list[str]:
        """Return the names in one token. They are several if the token is a number with a point.

        In `list.0.1` the end is read as the number `0.1`, although it is two names.
        """
        if self._next.kind == "quoted":
            return [_unquoted(self._take().text)]
        if self._next.kind in ("word", "number"):
            return self._take().text.split(".")
        raise self._expected("the name of a field")

    def _literal(self) -> Literal:
        token = self._next
        if token.kind == "quoted":
            return _unquoted(self._take().text)
        if token.kind == "number" and len(token.text) <= _MAX_DIGITS:
            self._take()
            return int(token.text) if re.fullmatch(r"[+-]?[0-9]+", token.text) else float(token.text)
        if token.kind == "word" and token.text.lower() in ("true", "false"):
            return self._take().text.lower() == "true"
        raise self._expected("a number, true, false or a string in quotes")

    def _takes_word(self, word: str) -> bool:
        return self._next.text.lower() == word and self._takes("word", self._next.text)

    def _takes(self, kind: str, text: str) -> bool:
        is_next = self._next.kind == kind and self._next.text == text
        if is_next:
            self._take()
        return is_next

    def _take(self) -> _Token:
        token = self._next
        self._next = self._token(token.position + len(token.text))
        return token

    def _token(self, position: int) -> _Token:
        match = _TOKENS.match(self._text, position)
        if match is None or match.lastgroup is None:
            start = position + len(self._text[position:]) - len(self._text[position:].lstrip())
            problem = "A quote is not closed" if self._text[start] in "\"'" else f"Unexpected {self._text[start]!r}"
            raise FilterError(problem, start)
        return _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup))

    def _expected(self, expected: str) -> FilterError:
        token = self._next
        shown = "the end" if token.kind == "end" else f"`{token.text[:40]}`"
        return FilterError(f"Expected {expected}, not {shown},", token.position)


_MISSING = object()


def _member(values: Any, path: list[str]) -> Any:
    """Return the value at `path`, or _MISSING. A number in the path is an index into a list."""
    for name in path:
        if isinstance(values, dict) and name in values:
            values = values[name]
        elif isinstance(values, list) and name.isascii() and name.isdigit() and len(name) < 10:
            index = int(name)
            if index >= len(values):
                return _MISSING
            values = values[index]
        else:
            return _MISSING
    return values


def _kind(value: Any) -> type | None:
    if isinstance(value, bool):
        return bool
    if isinstance(value, int | float):
        return float
    return str if isinstance(value, str) else None


def _is_equal(member: Any, literal: Literal) -> bool:
    return _kind(member) is _kind(literal) and bool(member == literal)


def _is_ordered(order: Callable[[Any, Any], bool], member: Any, literal: Literal) -> bool:
    kind = _kind(member)
    return kind in (float, str) and kind is _kind(literal) and order(member, literal)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
