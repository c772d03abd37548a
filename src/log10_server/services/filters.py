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
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

Predicate = Callable[[Any], bool]
Literal = bool | int | float | str
Path = tuple[str, ...]

MAX_CHARACTERS = 10_000
MAX_COMPARISONS = 100
_MAX_NESTING = 100
_MAX_DIGITS = 4_000


class FilterError(Exception):
    """A filter that can't be parsed. The text says what is wrong; `position`, counted from 0, says where."""

    def __init__(self, problem: str, position: int) -> None:
        super().__init__(f"{problem} at character {position + 1}")
        self.position = position


class Cells(NamedTuple):
    """The values of many rows at one path. `kinds` has at least the types of all of them."""

    values: Sequence[Any]
    kinds: Set[type]

    @classmethod
    def of(cls, values: Sequence[Any]) -> "Cells":
        """Return these values with their types."""
        return cls(values, set(map(type, values)))


class Filter:
    """A parsed filter. `paths` are the paths of all fields that it names, each once."""

    def __init__(self, condition: "_Condition", paths: Iterable[Path]) -> None:
        self._condition = condition
        self.paths = tuple(dict.fromkeys(paths))

    def __call__(self, values: Any) -> bool:
        """Return whether these `json_values`, which were parsed from JSON, satisfy the filter."""
        return bool(self._condition.mask({path: Cells.of([_member(values, path)]) for path in self.paths}, 1))

    def select(self, columns: Mapping[Path, Cells], rows: int) -> int:
        """Return a number that has one byte for each of so many rows, the first row in the lowest byte.

        It is 1 if the row satisfies the filter, otherwise 0. `columns` has the values of all rows at each of `paths`
        where there are any. What is neither a number nor a string nor a boolean may be None.
        """
        return self._condition.mask(columns, rows)


def parse_filter(text: str) -> Filter:
    """Parse a filter. Raises FilterError."""
    if len(text) > MAX_CHARACTERS:
        raise FilterError(f"The filter is longer than {MAX_CHARACTERS} characters", MAX_CHARACTERS)
    reader = _Reader(text)
    condition = reader.disjunction(0)
    reader.end()
    return Filter(condition, reader.paths)


# A condition is evaluated for many rows at once, with the result of `Filter.select`: combining whole numbers is much
# faster than combining the results of each row.


class _Comparison(NamedTuple):
    path: Path
    compare: Callable[[Any, Any], bool]
    literal: Literal

    def mask(self, columns: Mapping[Path, Cells], _rows: int) -> int:
        cells, compare, literal = columns.get(self.path), self.compare, self.literal
        kinds = _KINDS[type(literal)]
        if cells is None or kinds.isdisjoint(cells.kinds):
            return 0
        if cells.kinds <= kinds:
            satisfied = [compare(member, literal) for member in cells.values]
        else:
            satisfied = [type(member) in kinds and compare(member, literal) for member in cells.values]
        return int.from_bytes(bytes(satisfied), "little")


class _Not(NamedTuple):
    condition: "_Condition"

    def mask(self, columns: Mapping[Path, Cells], rows: int) -> int:
        return self.condition.mask(columns, rows) ^ int.from_bytes(b"\1" * rows, "little")


class _All(NamedTuple):
    conditions: "list[_Condition]"

    def mask(self, columns: Mapping[Path, Cells], rows: int) -> int:
        result = self.conditions[0].mask(columns, rows)
        for condition in self.conditions[1:]:
            result = result and result & condition.mask(columns, rows)
        return result


class _Any(NamedTuple):
    conditions: "list[_Condition]"

    def mask(self, columns: Mapping[Path, Cells], rows: int) -> int:
        result = 0
        for condition in self.conditions:
            result |= condition.mask(columns, rows)
        return result


_Condition = _Comparison | _Not | _All | _Any


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
# The types of the values that are compared with a literal of a type. Values of other types are never equal to it, nor
# in an order with it.
_KINDS: dict[type, frozenset[type]] = {
    bool: frozenset([bool]),
    int: frozenset([int, float]),
    float: frozenset([int, float]),
    str: frozenset([str]),
}
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _never(_member: Any, _literal: Any) -> bool:
    return False


class _Reader:
    """Reads a filter from left to right, one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.paths: list[Path] = []  # of the comparisons that were read
        self._next = self._token(0)

    def disjunction(self, depth: int) -> _Condition:
        if depth > _MAX_NESTING:
            raise FilterError(f"The filter is nested deeper than {_MAX_NESTING} levels", self._next.position)
        tests: list[_Condition] = [self._all(depth)]
        while self._takes_word("or"):
            tests.append(self._all(depth))
        return tests[0] if len(tests) == 1 else _Any(tests)

    def end(self) -> None:
        if self._next.kind != "end":
            raise self._expected("`and`, `or` or the end")

    def _all(self, depth: int) -> _Condition:
        tests: list[_Condition] = [self._test(depth)]
        while self._takes_word("and"):
            tests.append(self._test(depth))
        return tests[0] if len(tests) == 1 else _All(tests)

    def _test(self, depth: int) -> _Condition:
        if self._takes_word("not"):
            if depth > _MAX_NESTING:
                raise FilterError(f"The filter is nested deeper than {_MAX_NESTING} levels", self._next.position)
            return _Not(self._test(depth + 1))
        if self._takes("mark", "("):
            test = self.disjunction(depth + 1)
            if not self._takes("mark", ")"):
                raise self._expected("`)`")
            return test
        return self._comparison()

    def _comparison(self) -> _Comparison | _Not:
        if len(self.paths) >= MAX_COMPARISONS:
            raise FilterError(f"The filter has more than {MAX_COMPARISONS} comparisons", self._next.position)
        path = tuple(self._field())
        self.paths.append(path)
        if self._next.kind != "operator":
            raise self._expected("one of = != < <= > >=")
        sign = self._take().text
        literal = self._literal()
        if sign == "!=":
            return _Not(_Comparison(path, operator.eq, literal))
        if sign in _ORDERS and isinstance(literal, bool):
            return _Comparison(path, _never, literal)  # booleans have no order
        return _Comparison(path, _ORDERS.get(sign, operator.eq), literal)

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


def _member(values: Any, path: Path) -> Any:
    """Return the value at `path`, or None if there is none. A number in the path is an index into a list."""
    for name in path:
        if isinstance(values, dict) and name in values:
            values = values[name]
        elif isinstance(values, list) and name.isascii() and name.isdigit() and len(name) < 10:
            index = int(name)
            if index >= len(values):
                return None
            values = values[index]
        else:
            return None
    return values


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
