"""Error messages for schemas and values that are invalid. Values that are quoted in a message are shortened."""

import json
from typing import Any

from jsonschema.exceptions import ValidationError

_SHOWN_CHARACTERS = 80
_SHOWN_VALUES = 8

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
_SIZE = {
    "minLength": ("at least", "character", "characters"),
    "maxLength": ("at most", "character", "characters"),
    "minItems": ("at least", "item", "items"),
    "maxItems": ("at most", "item", "items"),
    "minProperties": ("at least", "property", "properties"),
    "maxProperties": ("at most", "property", "properties"),
}
_RULE = {
    "uniqueItems": "Must not have the same item twice.",
    "contains": "Must have an item that fits the schema in `contains`.",
    "minContains": "Must have more items that fit the schema in `contains`.",
    "maxContains": "Must have fewer items that fit the schema in `contains`.",
    "items": "Must have no items beyond those in `prefixItems`.",
    "not": "Must not fit the schema in `not`.",
}
_TYPES = {
    "array": "an array",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}


def message_of(error: ValidationError) -> str:
    """The message of an error: a sentence with the violated rule and, for most keywords, the value."""
    keyword: Any = error.validator
    limit: Any = error.validator_value
    value: Any = error.instance
    if keyword is None:
        return "Nothing is allowed here."
    if keyword == "type":
        return wrong_type(as_list(limit), value)
    if keyword == "enum" and not limit:
        return "No value is allowed here, because `enum` is empty."
    if keyword == "enum":
        return f"Must be one of {quoted(limit)}; it is {short(value)}."
    if keyword in _LIMIT:
        return f"{_LIMIT[keyword].format(short(limit))}; it is {short(value)}."
    if keyword in _SIZE:
        bound, singular, plural = _SIZE[keyword]
        return f"Must have {bound} {short(limit)} {singular if limit == 1 else plural}; it has {len(value)}."
    return _RULE.get(keyword) or printable(_cut(error.message, 4 * _SHOWN_CHARACTERS))


def wrong_type(types: list[str], value: Any) -> str:
    """The message for a value that has none of these types."""
    return f"Must be {' or '.join(_TYPES.get(name, name) for name in types)}; it is {_type_of(value)}."


def quoted(values: list[Any]) -> str:
    """The first few values, separated by commas, and how many more there are."""
    more = f" and {len(values) - _SHOWN_VALUES} more" if len(values) > _SHOWN_VALUES else ""
    return ", ".join(short(value) for value in values[:_SHOWN_VALUES]) + more


def short(value: Any) -> str:
    """A value as JSON in at most about 80 characters. Arrays and objects are described by their size."""
    if isinstance(value, list) and value:
        return f"an array of {len(value)}"
    if isinstance(value, dict) and value:
        return f"an object of {len(value)}"
    if isinstance(value, str):
        return _cut(printable(json.dumps(value[:_SHOWN_CHARACTERS], ensure_ascii=False)), _SHOWN_CHARACTERS)
    return _cut(json.dumps(value), _SHOWN_CHARACTERS)


def printable(text: str) -> str:
    """The text with lone surrogates escaped, so that any log and any answer can hold it."""
    return text.encode("utf-8", "backslashreplace").decode()


def as_list(value: Any) -> list[Any]:
    """The value itself if it is a list, otherwise a list with only this value.

    The keyword `type`, for example, may have one name or a list of names.
    """
    return value if isinstance(value, list) else [value]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _type_of(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float):
        return _cut(json.dumps(value), _SHOWN_CHARACTERS)
    return _TYPES["string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"]
