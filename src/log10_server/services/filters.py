"""The filter language over `json_values`: `Coverage <= 5 and not ("Tone of voice" = "rude" or flags.spam = true)`.

    filter     = all { "or" all }
    all        = one { "and" one }
    one        = "not" one | "(" filter ")" | comparison
    comparison = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) literal
    field      = name { "." name }          a name with other characters than letters, digits, _ and - stands in quotes
    literal    = number | "true" | "false" | a string in quotes

`=` needs the same type, `!=` is its opposite, the others compare numbers with numbers and strings (by code point) with
strings. A field that is not there equals nothing. Words may be in any case; `\\` in quotes makes the next character plain.
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
    """A filter that can't be read; the text says what is wrong, `position` (from 0) where."""

    def __init__(self, what: str, position: int) -> None:
        super().__init__(f"{what} at character {position + 1}")
        self.position = position


def parse_filter(text: str) -> Predicate:
    """Whether values (read from JSON) satisfy the filter. Raises FilterError."""
    if len(text) > MAX_CHARACTERS:
        raise FilterError(f"The filter is longer than {MAX_CHARACTERS} characters", MAX_CHARACTERS)
    reader = _Reader(text)
    test = reader.filter(0)
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

    def filter(self, depth: int) -> Predicate:
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
        tests = [self._one(depth)]
        while self._takes_word("and"):
            tests.append(self._one(depth))
        return tests[0] if len(tests) == 1 else lambda values: all(test(values) for test in tests)

    def _one(self, depth: int) -> Predicate:
        if self._takes_word("not"):
            if depth > _MAX_NESTING:
                raise FilterError(f"The filter is nested deeper than {_MAX_NESTING} levels", self._next.position)
            negated = self._one(depth + 1)
            return lambda values: not negated(values)
        if self._takes("mark", "("):
            test = self.filter(depth + 1)
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
        wanted = self._literal()
        if sign in _ORDERS:
            order = _ORDERS[sign]
            return lambda values: _ordered(order, _found(values, path), wanted)
        if sign == "!=":
            return lambda values: not _equal(_found(values, path), wanted)
        return lambda values: _equal(_found(values, path), wanted)

    def _field(self) -> list[str]:
        path = self._names()
        while self._takes("mark", "."):
            path += self._names()
        return path

    def _names(self) -> list[str]:
        """One name; two in `list.0.1`, whose end reads as a number."""
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
        return self._next.kind == "word" and self._takes("word", self._next.text, self._next.text.lower() == word)

    def _takes(self, kind: str, text: str, also: bool = True) -> bool:
        found = also and self._next.kind == kind and self._next.text == text
        if found:
            self._take()
        return found

    def _take(self) -> _Token:
        taken = self._next
        self._next = self._token(taken.position + len(taken.text))
        return taken

    def _token(self, position: int) -> _Token:
        found = _TOKENS.match(self._text, position)
        if found is None or found.lastgroup is None:
            start = position + len(self._text[position:]) - len(self._text[position:].lstrip())
            what = "A quote is not closed" if self._text[start] in "\"'" else f"Unexpected {self._text[start]!r}"
            raise FilterError(what, start)
        return _Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup))

    def _expected(self, what: str) -> FilterError:
        token = self._next
        shown = "the end" if token.kind == "end" else f"`{token.text[:40]}`"
        return FilterError(f"Expected {what}, not {shown},", token.position)


_MISSING = object()


def _found(values: Any, path: list[str]) -> Any:
    for name in path:
        if isinstance(values, dict) and name in values:
            values = values[name]
        elif isinstance(values, list) and name.isascii() and name.isdigit() and len(name) < 10:
            place = int(name)
            if place >= len(values):
                return _MISSING
            values = values[place]
        else:
            return _MISSING
    return values


def _kind(value: Any) -> type | None:
    if isinstance(value, bool):
        return bool
    if isinstance(value, int | float):
        return float
    return str if isinstance(value, str) else None


def _equal(found: Any, wanted: Literal) -> bool:
    return _kind(found) is _kind(wanted) and bool(found == wanted)


def _ordered(order: Callable[[Any, Any], bool], found: Any, wanted: Literal) -> bool:
    kind = _kind(found)
    return kind in (float, str) and kind is _kind(wanted) and order(found, wanted)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
