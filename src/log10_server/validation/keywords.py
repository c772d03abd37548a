"""What the keywords of JSON Schema ask, where the library is mended, and how a failure is worded.

The library words every failure at once, with the whole instance in it, even in a branch of `anyOf` that is thrown
away. Here a keyword that fails yields an error without words, and `said` words the few that are answered.
"""

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import islice
from typing import Any

from jsonschema import validators
from jsonschema.exceptions import ValidationError

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError]]

_SHOWN = 80
_LISTED = 8
_KEPT = 3  # errors of one branch of `anyOf`: enough to see what it is about


def extended(library_class: Any) -> Any:
    """`library_class` with our keywords, for those that its draft has."""
    ours = {**_KEYWORDS, **(_KEYWORDS_OF_DRAFT_4 if library_class is validators.Draft4Validator else {})}
    extend: Any = validators.extend
    made = extend(library_class, {name: keyword for name, keyword in ours.items() if name in library_class.VALIDATORS})
    made.evolve = _evolved
    made.descend = _descending(made.descend)
    return made


def _evolved(self: Any, **changes: Any) -> Any:
    """The validator of a subschema. The library's own follows `$schema` to its own classes, and ours are lost."""
    return type(self)(
        changes.get("schema", self.schema),
        format_checker=self.format_checker,
        registry=self._registry,
        _resolver=changes.get("_resolver", self._resolver),
    )


def _descending(descend: Callable[..., Iterator[ValidationError]]) -> Callable[..., Iterator[ValidationError]]:
    """The library's own `descend`, which forgets the place of a value where the schema is `false`."""

    def descending(self: Any, instance: Any, schema: Any, path: Any = None, **rest: Any) -> Iterator[ValidationError]:
        if schema is not False:
            return descend(self, instance, schema, path, **rest)
        error: Any = ValidationError("", path=() if path is None else (path,), instance=instance)
        error.validator = error.validator_value = None
        error.schema = False
        return iter((error,))

    return descending


def same(one: Any, two: Any) -> bool:
    """Whether two JSON values are equal: 1 is 1.0 but not `true`."""
    if isinstance(one, bool) or isinstance(two, bool):
        return one is two
    if isinstance(one, list):
        return isinstance(two, list) and len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict):
        return isinstance(two, dict) and one.keys() == two.keys() and all(same(one[name], two[name]) for name in one)
    return bool(one == two)


def is_multiple(number: int | float, of: int | float) -> bool:
    """Whether `number` is a whole multiple of `of`, both as they are spelled: 0.3 is three times 0.1."""
    numerator, denominator = _ratio(number)
    of_numerator, of_denominator = _ratio(of)
    return numerator * of_denominator % (denominator * of_numerator) == 0


def _ratio(number: int | float) -> tuple[int, int]:
    return (number, 1) if isinstance(number, int) else Decimal(repr(number)).as_integer_ratio()


def are_unique(items: list[Any]) -> bool:
    return len(set(map(_hashable, items))) == len(items)


def _hashable(value: Any) -> Any:
    """Something that is equal for equal JSON values, and for no others."""
    if isinstance(value, bool):
        return (bool, value)
    if isinstance(value, list):
        return (list, tuple(map(_hashable, value)))
    if isinstance(value, dict):
        return (dict, frozenset((name, _hashable(member)) for name, member in value.items()))
    return value


def _leaf(kind: type | tuple[type, ...], holds: Callable[[Any, Any], bool]) -> Keyword:
    """A keyword that compares an instance of `kind` with its value."""

    def keyword(_validator: Any, limit: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, kind) and not isinstance(instance, bool) and not holds(instance, limit):
            yield ValidationError("")

    return keyword


def _type(validator: Any, kinds: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if not any(validator.is_type(instance, kind) for kind in _as_list(kinds)):
        yield ValidationError("")


def _enum(_validator: Any, values: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    found = instance in values if isinstance(instance, str) else any(same(instance, value) for value in values)
    if not found:
        yield ValidationError("")


def _const(_validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if not same(instance, value):
        yield ValidationError("")


def _required(_validator: Any, names: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for name in names:
            if name not in instance:
                yield ValidationError(f"The required property {short(name)} is missing.")


def _additional_properties(validator: Any, rest: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    # Each pattern by itself: joined by "|", as the library does it, some no longer compile.
    extra = [
        name for name in instance if name not in named and not any(re.search(pattern, name) for pattern in patterns)
    ]
    if rest is False and extra:
        yield ValidationError(f"Not allowed: {listed(extra)}.")
    elif rest is not False:
        for name in extra:
            yield from validator.descend(instance[name], rest, path=name)


def _property_names(validator: Any, names: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for name in instance:
            for error in islice(validator.descend(name, names), 1):
                yield ValidationError(f"The property name {short(name)} is not allowed: {said(error)}")


def _any_of(validator: Any, branches: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    failures = []
    for branch in branches:
        failures.append(list(islice(validator.descend(instance, branch), _KEPT)))
        if not failures[-1]:
            return
    yield from _none_fits("anyOf", failures)


def _one_of(validator: Any, branches: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    failures = []
    fitting = 0
    for branch in branches:
        failures.append(list(islice(validator.descend(instance, branch), _KEPT)))
        fitting += not failures[-1]
        if fitting > 1:
            yield ValidationError("Fits more than one of the schemas in `oneOf`.")
            return
    if not fitting:
        yield from _none_fits("oneOf", failures)


def _none_fits(keyword: str, failures: list[list[ValidationError]]) -> Iterator[ValidationError]:
    """One error for all branches; the errors of a branch, when it is clear that it is the one that was meant."""
    of_kind = [errors for errors in failures if not any(_is_of_another_kind(error) for error in errors)]
    inside = [errors for errors in of_kind if any(error.path for error in errors)]
    if len(of_kind) == 1 or len(inside) == 1:
        yield from of_kind[0] if len(of_kind) == 1 else inside[0]
    elif not of_kind:
        wrong = [error for errors in failures for error in errors if _is_of_another_kind(error)]
        kinds = dict.fromkeys(kind for error in wrong for kind in _as_list(error.validator_value))
        yield ValidationError(f"Must be {_kinds(list(kinds))}; it is {_kind(wrong[0].instance)}.")
    else:
        yield ValidationError(f"Fits none of the {len(failures)} schemas in `{keyword}`.")


def _is_of_another_kind(error: ValidationError) -> bool:
    return error.validator == "type" and not error.path


_NUMBER = (int, float)
_KEYWORDS: dict[str, Keyword] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "multipleOf": _leaf(_NUMBER, is_multiple),
    "minimum": _leaf(_NUMBER, lambda number, limit: number >= limit),
    "maximum": _leaf(_NUMBER, lambda number, limit: number <= limit),
    "exclusiveMinimum": _leaf(_NUMBER, lambda number, limit: number > limit),
    "exclusiveMaximum": _leaf(_NUMBER, lambda number, limit: number < limit),
    "minLength": _leaf(str, lambda text, limit: len(text) >= limit),
    "maxLength": _leaf(str, lambda text, limit: len(text) <= limit),
    "pattern": _leaf(str, lambda text, pattern: re.search(pattern, text) is not None),
    "minItems": _leaf(list, lambda items, limit: len(items) >= limit),
    "maxItems": _leaf(list, lambda items, limit: len(items) <= limit),
    "uniqueItems": _leaf(list, lambda items, wanted: not wanted or are_unique(items)),
    "minProperties": _leaf(dict, lambda members, limit: len(members) >= limit),
    "maxProperties": _leaf(dict, lambda members, limit: len(members) <= limit),
    "required": _required,
    "additionalProperties": _additional_properties,
    "propertyNames": _property_names,
    "anyOf": _any_of,
    "oneOf": _one_of,
}


def _minimum_of_draft_4(validator: Any, limit: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    keyword = "exclusiveMinimum" if schema.get("exclusiveMinimum") else "minimum"
    for error in _KEYWORDS[keyword](validator, limit, instance, schema):
        error.validator = keyword
        yield error


def _maximum_of_draft_4(validator: Any, limit: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    keyword = "exclusiveMaximum" if schema.get("exclusiveMaximum") else "maximum"
    for error in _KEYWORDS[keyword](validator, limit, instance, schema):
        error.validator = keyword
        yield error


_KEYWORDS_OF_DRAFT_4: dict[str, Keyword] = {"minimum": _minimum_of_draft_4, "maximum": _maximum_of_draft_4}

_LIMIT = {
    "multipleOf": "Must be a multiple of {}",
    "minimum": "Must be at least {}",
    "maximum": "Must be at most {}",
    "exclusiveMinimum": "Must be greater than {}",
    "exclusiveMaximum": "Must be less than {}",
    "const": "Must be {}",
    "pattern": "Must match the pattern {}",
    "format": "Must be of the format {}",
}
_LENGTH = {
    "minLength": "Must have at least {} characters",
    "maxLength": "Must have at most {} characters",
    "minItems": "Must have at least {} items",
    "maxItems": "Must have at most {} items",
    "minProperties": "Must have at least {} properties",
    "maxProperties": "Must have at most {} properties",
}
_RULE = {
    "uniqueItems": "Must not have the same item twice.",
    "contains": "Must have an item that fits the schema in `contains`.",
    "minContains": "Must have more items that fit the schema in `contains`.",
    "maxContains": "Must have fewer items that fit the schema in `contains`.",
    "items": "Must have no items beyond those in `prefixItems`.",
    "additionalItems": "Must have no items beyond those in `items`.",
    "not": "Must not fit the schema in `not`.",
}


def said(error: ValidationError) -> str:
    """A sentence that names the rule; values in it are shortened."""
    keyword: Any = error.validator
    limit: Any = error.validator_value
    instance: Any = error.instance
    if keyword is None:
        return "Nothing is allowed here."
    if keyword == "type":
        return f"Must be {_kinds(_as_list(limit))}; it is {_kind(instance)}."
    if keyword == "enum":
        return f"Must be one of {listed(limit)}; it is {short(instance)}."
    if keyword in _LIMIT:
        return f"{_LIMIT[keyword].format(short(limit))}; it is {short(instance)}."
    if keyword in _LENGTH:
        return f"{_LENGTH[keyword].format(short(limit))}; it has {len(instance)}."
    return _RULE.get(keyword) or printable(_cut(error.message, 4 * _SHOWN))


def listed(values: Any) -> str:
    more = f" and {len(values) - _LISTED} more" if len(values) > _LISTED else ""
    return ", ".join(short(value) for value in values[:_LISTED]) + more


def short(value: Any) -> str:
    """`value` as JSON, about 80 characters at most; of what holds others, only its size."""
    if isinstance(value, list) and value:
        return f"an array of {len(value)}"
    if isinstance(value, dict) and value:
        return f"an object of {len(value)}"
    if isinstance(value, str):
        return _cut(printable(json.dumps(value[:_SHOWN], ensure_ascii=False)), _SHOWN)
    return _cut(json.dumps(value), _SHOWN)


def printable(text: str) -> str:
    """`text` without lone surrogates, so that any log takes it."""
    return text.encode("utf-8", "backslashreplace").decode()


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


_KINDS = {
    "array": "an array",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}


def _kinds(names: list[str]) -> str:
    return " or ".join(_KINDS.get(name, name) for name in names)


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float):
        return _cut(json.dumps(value), _SHOWN)
    return _KINDS["string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"]
