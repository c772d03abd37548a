"""The checks of the keywords of JSON Schema, which replace those of the library `jsonschema`.

The library formats the message of every error at once, with the whole value in it, even in a branch of `anyOf` whose
errors are discarded. So the checks here yield errors without a message where possible, and `messages.message_of`
formats the messages of the few errors that are returned.
"""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import islice
from typing import Any

from jsonschema import validators
from jsonschema.exceptions import ValidationError

from log10_server.validation.evaluation import check_rest, unevaluated_items, unevaluated_properties
from log10_server.validation.messages import as_list, message_of, quoted, short, wrong_type
from log10_server.validation.references import Draft, resolve

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError]]

_ERRORS_KEPT_PER_BRANCH = 3  # for each branch of `anyOf` and `oneOf`: enough to tell which branch was meant


def validator_class(library_class: Any, draft: Draft) -> Any:
    """The library's validator class of a draft, with the checks of this module in place of the library's.

    It relies on private parts of jsonschema's validators, so pyproject.toml bounds the library's version from above.
    """
    replacements = {**_KEYWORDS, **(_KEYWORDS_OF_DRAFT_4 if library_class is validators.Draft4Validator else {})}
    extend: Any = validators.extend
    extended = extend(
        library_class, {name: check for name, check in replacements.items() if name in library_class.VALIDATORS}
    )
    extended.evolve = _evolve(draft)
    extended.descend = _descend(draft, extended.descend)
    return extended


def _evolve(draft: Draft) -> Callable[..., Any]:
    """The method that makes the validator of a subschema.

    The library's own method follows `$schema` to the library's class, which does not have these checks, and it resolves
    the references below `not`, `if` and `contains` without regard to an `$id` there.
    """

    def evolve(self: Any, **changes: Any) -> Any:
        schema = changes.get("schema", self.schema)
        resolver = changes.get("_resolver") or draft.enter(self._resolver, schema)
        return type(self)(schema, format_checker=self.format_checker, registry=self._registry, _resolver=resolver)

    return evolve


def _descend(draft: Draft, library_descend: Callable[..., Any]) -> Callable[..., Iterator[ValidationError]]:
    """The method that validates a value against a subschema.

    The library's own method loses the location of the value where the subschema is `false`, and it leaves the outer
    schema out of the dynamic scope where the subschema has an `$id`.
    """

    def descend(
        self: Any, instance: Any, schema: Any, path: Any = None, schema_path: Any = None, resolver: Any = None
    ) -> Iterator[ValidationError]:
        if schema is not False:
            resolver = resolver or draft.enter(self._resolver, schema)
            errors: Iterator[ValidationError] = library_descend(self, instance, schema, path, schema_path, resolver)
            return errors
        error: Any = ValidationError("", path=() if path is None else (path,), instance=instance)
        error.validator = error.validator_value = None
        error.schema = False
        return iter((error,))

    return descend


def are_equal(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal: 1 is 1.0 but not `true`."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(are_equal, left, right))
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(are_equal(left[name], right[name]) for name in left)
        )
    return bool(left == right)


def is_multiple(number: int | float, divisor: int | float) -> bool:
    """Whether `number` is a whole multiple of `divisor`, both as decimals: 0.3 is three times 0.1."""
    numerator, denominator = _ratio(number)
    divisor_numerator, divisor_denominator = _ratio(divisor)
    return numerator * divisor_denominator % (denominator * divisor_numerator) == 0


def _ratio(number: int | float) -> tuple[int, int]:
    return (number, 1) if isinstance(number, int) else Decimal(repr(number)).as_integer_ratio()


def are_unique(items: list[Any]) -> bool:
    """Whether no two items are equal JSON values."""
    return len(set(map(_hashable, items))) == len(items)


def _hashable(value: Any) -> Any:
    """A hashable object for a JSON value. Two of these objects are equal exactly if the JSON values are equal."""
    if isinstance(value, bool):
        return (bool, value)
    if isinstance(value, list):
        return (list, tuple(map(_hashable, value)))
    if isinstance(value, dict):
        return (dict, frozenset((name, _hashable(member)) for name, member in value.items()))
    return value


def _comparison(types: type | tuple[type, ...], holds: Callable[[Any, Any], bool]) -> Keyword:
    """A keyword that compares a value of certain types with a limit, and ignores values of other types."""

    def keyword(_validator: Any, limit: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, types) and not isinstance(instance, bool) and not holds(instance, limit):
            yield ValidationError("")

    return keyword


def _reference(keyword: str) -> Keyword:
    """`$ref`, `$dynamicRef` or `$recursiveRef`: the value must be valid for the schema that it refers to."""

    def reference(validator: Any, address: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        target = resolve(validator._resolver, keyword, address)
        yield from validator.descend(instance, target.contents, resolver=target.resolver)

    return reference


def _type(validator: Any, types: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if not any(validator.is_type(instance, name) for name in as_list(types)):
        yield ValidationError("")


def _enum(_validator: Any, values: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    is_listed = instance in values if isinstance(instance, str) else any(are_equal(instance, value) for value in values)
    if not is_listed:
        yield ValidationError("")


def _const(_validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if not are_equal(instance, value):
        yield ValidationError("")


def _required(_validator: Any, names: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for name in names:
            if name not in instance:
                yield ValidationError(f"The required property {short(name)} is missing.")


def _dependencies(validator: Any, dependencies: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """`dependentRequired`, `dependentSchemas`, and `dependencies` of the early drafts, which combines the two."""
    for name, dependency in dependencies.items() if isinstance(instance, dict) else ():
        if name not in instance:
            continue
        if not isinstance(dependency, list):
            yield from validator.descend(instance, dependency)
            continue
        for required in dependency:
            if required not in instance:
                yield ValidationError(
                    f"The property {short(required)} is required beside {short(name)}; it is missing."
                )


def _additional_properties(validator: Any, rest: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    # Each pattern is tried by itself. The library joins them with "|", and then some no longer compile.
    extra = [
        name for name in instance if name not in named and not any(re.search(pattern, name) for pattern in patterns)
    ]
    yield from check_rest(validator, rest, instance, extra, lambda: f"Not allowed: {quoted(extra)}.")


def _additional_items(validator: Any, rest: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """`additionalItems`, which applies only if `items` is an array.

    The library's check fails if `items` is a boolean.
    """
    first = schema.get("items")
    if not isinstance(instance, list) or not isinstance(first, list):
        return
    extra = range(len(first), len(instance))
    yield from check_rest(validator, rest, instance, extra, lambda: "Must have no items beyond those in `items`.")


def _property_names(validator: Any, names: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for name in instance:
            for error in islice(validator.descend(name, names), 1):
                yield ValidationError(f"The property name {short(name)} is not allowed: {message_of(error)}")


def _any_of(validator: Any, branches: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    failures = []
    for branch in branches:
        failures.append(list(islice(validator.descend(instance, branch), _ERRORS_KEPT_PER_BRANCH)))
        if not failures[-1]:
            return
    yield from _no_branch_fits("anyOf", failures)


def _one_of(validator: Any, branches: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    failures = []
    fitting = 0
    for branch in branches:
        failures.append(list(islice(validator.descend(instance, branch), _ERRORS_KEPT_PER_BRANCH)))
        fitting += not failures[-1]
        if fitting > 1:
            yield ValidationError("Fits more than one of the schemas in `oneOf`.")
            return
    if not fitting:
        yield from _no_branch_fits("oneOf", failures)


def _no_branch_fits(keyword: str, failures: list[list[ValidationError]]) -> Iterator[ValidationError]:
    """The errors of the branch that was clearly meant; where that is not clear, one error for all branches."""
    of_right_type = [errors for errors in failures if not any(_is_wrong_type(error) for error in errors)]
    failing_inside = [errors for errors in of_right_type if any(error.path for error in errors)]
    if len(of_right_type) == 1 or len(failing_inside) == 1:
        yield from of_right_type[0] if len(of_right_type) == 1 else failing_inside[0]
    elif not of_right_type:
        wrong = [error for errors in failures for error in errors if _is_wrong_type(error)]
        types = dict.fromkeys(name for error in wrong for name in as_list(error.validator_value))
        yield ValidationError(wrong_type(list(types), wrong[0].instance))
    else:
        yield ValidationError(f"Fits none of the {len(failures)} schemas in `{keyword}`.")


def _is_wrong_type(error: ValidationError) -> bool:
    return error.validator == "type" and not error.path


_NUMBER = (int, float)
_KEYWORDS: dict[str, Keyword] = {
    **{name: _reference(name) for name in ("$ref", "$dynamicRef", "$recursiveRef")},
    "type": _type,
    "enum": _enum,
    "const": _const,
    "multipleOf": _comparison(_NUMBER, is_multiple),
    "minimum": _comparison(_NUMBER, lambda number, limit: number >= limit),
    "maximum": _comparison(_NUMBER, lambda number, limit: number <= limit),
    "exclusiveMinimum": _comparison(_NUMBER, lambda number, limit: number > limit),
    "exclusiveMaximum": _comparison(_NUMBER, lambda number, limit: number < limit),
    "minLength": _comparison(str, lambda text, limit: len(text) >= limit),
    "maxLength": _comparison(str, lambda text, limit: len(text) <= limit),
    "pattern": _comparison(str, lambda text, pattern: re.search(pattern, text) is not None),
    "minItems": _comparison(list, lambda items, limit: len(items) >= limit),
    "maxItems": _comparison(list, lambda items, limit: len(items) <= limit),
    "uniqueItems": _comparison(list, lambda items, is_on: not is_on or are_unique(items)),
    "minProperties": _comparison(dict, lambda members, limit: len(members) >= limit),
    "maxProperties": _comparison(dict, lambda members, limit: len(members) <= limit),
    "required": _required,
    "dependencies": _dependencies,
    "dependentRequired": _dependencies,
    "dependentSchemas": _dependencies,
    "additionalItems": _additional_items,
    "additionalProperties": _additional_properties,
    "propertyNames": _property_names,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "unevaluatedItems": unevaluated_items,
    "unevaluatedProperties": unevaluated_properties,
}


def _bound_of_draft_4(inclusive: str, exclusive: str) -> Keyword:
    """`minimum` or `maximum` of draft 4, in which `exclusiveMinimum` and `exclusiveMaximum` are booleans."""

    def bound(validator: Any, limit: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        keyword = exclusive if schema.get(exclusive) else inclusive
        for error in _KEYWORDS[keyword](validator, limit, instance, schema):
            error.validator = keyword
            yield error

    return bound


_KEYWORDS_OF_DRAFT_4: dict[str, Keyword] = {
    "minimum": _bound_of_draft_4("minimum", "exclusiveMinimum"),
    "maximum": _bound_of_draft_4("maximum", "exclusiveMaximum"),
}
