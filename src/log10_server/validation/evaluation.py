"""The keywords `unevaluatedProperties` and `unevaluatedItems` of the drafts 2019-09 and 2020-12.

A member of an object, or an item of an array, is evaluated if a keyword such as `properties` or `items` applies a
subschema to it. That keyword stands beside the unevaluated… keyword, or in a schema that is applied to the same object
or array and for which it is valid (through `allOf`, `$ref`, a branch of `anyOf`, …). The library's own checks are
replaced, because they compare names and don't consider which subschemas were applied.

Two differences between the drafts: 2019-09 has `items` and `additionalItems` where 2020-12 has `prefixItems` and
`items`, and only in 2020-12 does `contains` evaluate the items that it matches.
"""

from collections.abc import Callable, Iterator, Sequence
from re import search
from typing import Any

from jsonschema.exceptions import ValidationError

from log10_server.validation.messages import quoted
from log10_server.validation.references import resolve


def unevaluated_properties(validator: Any, rest: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """Members that nothing else evaluated must be valid for `rest`."""
    if not isinstance(instance, dict):
        return
    evaluated = _evaluated_properties(validator, instance, is_adjacent=True)
    extra = [name for name in instance if name not in evaluated]
    yield from check_rest(validator, rest, instance, extra, lambda: f"Not allowed: {quoted(extra)}.")


def unevaluated_items(validator: Any, rest: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """Items that nothing else evaluated must be valid for `rest`."""
    if not isinstance(instance, list):
        return
    evaluated = _evaluated_items(validator, instance, is_adjacent=True)
    extra = [index for index in range(len(instance)) if index not in evaluated]
    yield from check_rest(
        validator, rest, instance, extra, lambda: f"Not allowed: the items at {quoted(extra)}, counted from 0."
    )


def check_rest(
    validator: Any, rest: Any, instance: Any, extra: Sequence[str | int], refusal: Callable[[], str]
) -> Iterator[ValidationError]:
    """Check the members or items of `instance` at `extra`, which no other keyword covers: they must be valid for `rest`.

    If `rest` is false, the error has the text that `refusal` returns, instead of one error for each of them.
    """
    if rest is not False:
        for place in extra:
            yield from validator.descend(instance[place], rest, path=place)
    elif extra:
        yield ValidationError(refusal())


def _evaluated_properties(validator: Any, instance: dict[str, Any], *, is_adjacent: bool = False) -> set[str]:
    """The names of the members that the validator's schema evaluates. `instance` must be valid for that schema.

    `is_adjacent`: the schema is the one whose `unevaluatedProperties` is being checked, so that keyword is ignored.
    """
    schema = validator.schema
    if not isinstance(schema, dict):
        return set()
    if "additionalProperties" in schema or ("unevaluatedProperties" in schema and not is_adjacent):
        return set(instance)
    evaluated = {name for name in schema.get("properties", ()) if name in instance}
    for pattern in schema.get("patternProperties", ()):
        evaluated.update(name for name in instance if search(pattern, name))
    for applied in _applied_in_place(validator, instance):
        evaluated |= _evaluated_properties(applied, instance)
    return evaluated


def _evaluated_items(validator: Any, instance: list[Any], *, is_adjacent: bool = False) -> set[int]:
    """The indexes of the items that the validator's schema evaluates. `instance` must be valid for that schema.

    `is_adjacent`: the schema is the one whose `unevaluatedItems` is being checked, so that keyword is ignored.
    """
    schema = validator.schema
    if not isinstance(schema, dict):
        return set()
    is_2020 = "prefixItems" in validator.VALIDATORS
    first = schema.get("prefixItems" if is_2020 else "items", [])
    rest = "items" if is_2020 else "additionalItems"
    applies_to_rest = rest in schema and (is_2020 or "items" in schema)
    if not isinstance(first, list) or applies_to_rest or ("unevaluatedItems" in schema and not is_adjacent):
        return set(range(len(instance)))
    evaluated = set(range(min(len(first), len(instance))))
    if is_2020 and "contains" in schema:
        contains = validator.evolve(schema=schema["contains"])
        evaluated.update(index for index, item in enumerate(instance) if contains.is_valid(item))
    for applied in _applied_in_place(validator, instance):
        evaluated |= _evaluated_items(applied, instance)
    return evaluated


def _applied_in_place(validator: Any, instance: Any) -> Iterator[Any]:
    """The validators of the subschemas that are applied to `instance` itself and that it is valid for.

    Those in `allOf`, `$ref`, `dependentSchemas`, `then` and `else` are not checked here: if one of them fails, the
    value is invalid anyway, whatever was evaluated. `not` never evaluates anything.
    """
    schema = validator.schema
    for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
        if keyword in schema and keyword in validator.VALIDATORS:
            target = resolve(validator._resolver, keyword, schema[keyword])
            yield validator.evolve(schema=target.contents, _resolver=target.resolver)
    for branch in schema.get("allOf", ()):
        yield validator.evolve(schema=branch)
    for keyword in ("anyOf", "oneOf"):
        branches = (validator.evolve(schema=branch) for branch in schema.get(keyword, ()))
        yield from (branch for branch in branches if branch.is_valid(instance))
    if "if" in schema:
        condition = validator.evolve(schema=schema["if"])
        is_met = condition.is_valid(instance)
        if is_met:
            yield condition
        consequence = "then" if is_met else "else"
        if consequence in schema:
            yield validator.evolve(schema=schema[consequence])
    for name, dependent in schema.get("dependentSchemas", {}).items():
        if isinstance(instance, dict) and name in instance:  # in an array, `in` would find an equal item
            yield validator.evolve(schema=dependent)
