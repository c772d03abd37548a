"""A task's `json_schema`: whether it is one, and whether values are valid for it (docs/api.md, "Uploading feedback", "Task schemas"). Pure.

Only this module, `formats` and `schema_…` know `jsonschema`. None of it can be interrupted: `validators` decides
where it runs.
"""

import json
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any
from urllib.parse import urljoin

import jsonschema
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from referencing import Registry

from log10_server.errors import FieldError, Invalid, Refusal, pointer
from log10_server.strict_json import check_nesting, exact, value
from log10_server.validation import formats
from log10_server.validation.keywords import extended, listed, said, short
from log10_server.validation.references import DRAFTS, Draft, Places, References, resolver_of

SCHEMA, VALUES = "/json_schema", "/json_values"
LATEST = "https://json-schema.org/draft/2020-12/schema"

MAX_FAULTS = 100
_MAX_FOUND = 1000  # then the search for more ends

_CLASSES: dict[str, Any] = {
    "http://json-schema.org/draft-04/schema": extended(jsonschema.Draft4Validator),
    "http://json-schema.org/draft-06/schema": extended(jsonschema.Draft6Validator),
    "http://json-schema.org/draft-07/schema": extended(jsonschema.Draft7Validator),
    "https://json-schema.org/draft/2019-09/schema": extended(jsonschema.Draft201909Validator),
    LATEST: extended(jsonschema.Draft202012Validator),
}

# Keywords whose cost is not bounded by the parts of the schema times the parts of the values; nor is `uniqueItems`,
# for there are numbers made to have one hash.
_COSTLY = frozenset(
    {
        "$dynamicRef",
        "$recursiveRef",
        "$ref",
        "pattern",
        "patternProperties",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_PLAIN_NESTING = 50  # deeper ones need more stack than a request may have left


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema that is ready to validate."""

    parts: int  # about how many values its text holds
    _validator: Any

    def faults(self, values_text: str) -> list[FieldError]:
        """What is wrong with the values, by place below `/json_values`; 100 at most, then one that counts the rest."""
        try:
            values = exact(values_text, VALUES)
        except Invalid as refusal:
            return _first(refusal.faults, VALUES)
        except Refusal as refusal:
            return [FieldError(VALUES, refusal.detail)]
        if not isinstance(values, dict):
            return [FieldError(VALUES, "Must be an object.")]
        return _first(_found(self._validator, values, VALUES), VALUES)


def check(text: str) -> None:
    """Whether a task can have the schema `text`. Raises Invalid (`invalid_schema`) with all that is wrong."""
    faults = _first(_schema_faults(text), SCHEMA)
    if faults:
        raise Invalid(faults, code="invalid_schema")


def compiled(text: str) -> Schema:
    """The schema that is spelled `text` and has been checked. Raises Invalid when it can't have been."""
    schema = value(text)
    dialect = _dialect(schema)
    if dialect is None:
        raise Invalid(_schema_faults(text), code="invalid_schema")
    resolver = resolver_of(schema, DRAFTS[dialect])
    return Schema(parts_of(text), _validator(dialect, schema, resolver, formats.ASSERTED))


def compiled_if_plain(text: str) -> Schema | None:
    """The schema, if its shape bounds the cost of validating; else None.

    Then that takes no more steps than the schema has parts, times the parts of the values: about half a microsecond
    each, and four at worst.
    """
    if not _is_shallow(text):
        return None
    schema = value(text)
    dialect = _dialect(schema)
    if dialect is None or not is_plain(schema, DRAFTS[dialect]):
        return None
    return Schema(parts_of(text), _validator(dialect, schema, Registry().resolver(), formats.ASSERTED))


def parts_of(text: str) -> int:
    """About how many values stand in a JSON text; long strings count as several."""
    return 1 + text.count(",") + text.count("{") + text.count("[") + len(text) // 100


def _schema_faults(text: str) -> list[FieldError]:
    try:
        schema = exact(text, SCHEMA)
    except Invalid as refusal:
        return refusal.faults
    except Refusal as refusal:
        return [FieldError(SCHEMA, refusal.detail)]
    if not isinstance(schema, dict):
        return [FieldError(SCHEMA, "Must be an object.")]
    dialect = _dialect(schema)
    if dialect is None:
        return [
            FieldError(
                SCHEMA + "/$schema", f"Must name one of {listed(list(DRAFTS))}; it is {short(schema['$schema'])}."
            )
        ]
    draft, places = DRAFTS[dialect], Places(schema)
    faults = _found(_meta_validator(dialect), schema, SCHEMA)
    mixed = _mixed_faults(draft.schemas_in(schema), dialect, places)
    if mixed:  # references are read by the rules of one draft
        return faults + mixed
    try:
        references = References(schema, draft, places)
    except Exception as error:  # the libraries stumble in many ways over what is no schema
        return faults or [_stumbled(error, SCHEMA)]
    for elsewhere in references.elsewhere:
        faults += _found(_meta_validator(dialect), elsewhere, SCHEMA + places.pointer_to(elsewhere))
    faults += [FieldError(SCHEMA + path, message) for path, message in references.faults]
    faults += _mixed_faults(references.schemas, dialect, places)
    for each in references.schemas:
        faults += _pattern_faults(each, SCHEMA + places.pointer_to(each))
    return faults


def _mixed_faults(schemas: Iterable[dict[str, Any]], dialect: str, places: Places) -> list[FieldError]:
    return [
        FieldError(f"{SCHEMA}{places.pointer_to(each)}/$schema", "Must name the same draft as the whole schema does.")
        for each in schemas
        if "$schema" in each and _dialect(each) != dialect
    ]


def _dialect(schema: Any) -> str | None:
    """The draft that `$schema` names, spelled as its authors do; None for any other."""
    named = schema.get("$schema", LATEST) if isinstance(schema, dict) else None
    if not isinstance(named, str):
        return None
    scheme, _, address = named.removesuffix("#").partition("://")
    known = (each for each in DRAFTS if each.partition("://")[2] == address)
    return next(known, None) if scheme in ("http", "https") else None


def _pattern_faults(schema: dict[str, Any], place: str) -> Iterator[FieldError]:
    pattern, properties = schema.get("pattern"), schema.get("patternProperties")
    if isinstance(pattern, str) and (why := _why_not_compiled(pattern)):
        yield FieldError(f"{place}/pattern", why)
    for each in properties if isinstance(properties, dict) else ():
        if why := _why_not_compiled(each):
            yield FieldError(f"{place}/patternProperties{pointer(each)}", why)


def _why_not_compiled(pattern: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except re.error as error:
        return f"The pattern does not compile: {error.msg}."
    except Exception:  # OverflowError for a large repeat, RecursionError for deep groups, ...
        return "The pattern does not compile: it asks for too much."
    return ""


def is_plain(schema: dict[str, Any], draft: Draft) -> bool:
    """Whether no keyword in `schema` has a cost that its shape does not bound."""
    return all(
        _COSTLY.isdisjoint(each) and each.get("uniqueItems") is not True and each.get("format") != "regex"
        for each in draft.schemas_in(schema)
    )


def _is_shallow(text: str) -> bool:
    try:
        check_nesting(text, _PLAIN_NESTING)
    except Invalid:
        return False
    return True


def _validator(dialect: str, schema: dict[str, Any], resolver: Any, checker: Any) -> Any:
    return _CLASSES[dialect](schema, format_checker=checker, registry=Registry(), _resolver=resolver)


@cache
def _meta_validator(dialect: str) -> Any:
    """Checks schemas of one draft. Formats are not asserted: names with spaces in references are common, and work.

    The meta-schemas since 2019 are a dozen documents that refer to one another dynamically; in one piece, they take a
    quarter of the time.
    """
    root = REGISTRY.contents(dialect)
    whole: dict[str, Any] = {**root, "properties": {}, "$defs": {}} if "allOf" in root else root
    for vocabulary in root.get("allOf", ()):
        part = REGISTRY.contents(urljoin(dialect, vocabulary["$ref"]))
        whole["properties"] |= part["properties"]
        whole["$defs"] |= part.get("$defs", {})
    if whole is not root:
        whole["properties"] |= root["properties"]
        whole.pop("allOf")
        text = re.sub(r'"\$(?:dynamic|recursive)Ref": "#(?:meta)?"', '"$ref": "#"', json.dumps(whole))
        whole = json.loads(re.sub(r'"meta/\w+#', '"#', text))
    return _validator(dialect, whole, resolver_of(whole, DRAFTS[dialect]), None)


def _found(validator: Any, instance: Any, at: str) -> list[FieldError]:
    faults = []
    try:
        for error in islice(validator.iter_errors(instance), _MAX_FOUND):
            faults.append(FieldError(at + pointer(*error.absolute_path), said(error)))
    except MemoryError:
        raise
    except Exception as error:  # whatever odd input leads to: OverflowError, RecursionError, TypeError, re.error, ...
        faults.append(_stumbled(error, at))
    return faults


def _stumbled(error: Exception, at: str) -> FieldError:
    if isinstance(error, RecursionError):
        return FieldError(at, "Can't be validated: the schema refers to itself without end, or nests too deeply.")
    return FieldError(at, "Can't be validated: the schema asks for something that can't be computed.")


def _first(faults: Iterable[FieldError], at: str) -> list[FieldError]:
    """Each fault once, by place; of many, the first 100 and one that counts the rest."""
    ordered = sorted(dict.fromkeys(faults), key=lambda fault: [_as_in_order(part) for part in fault.path.split("/")])
    more = len(ordered) - MAX_FAULTS
    if more <= 0:
        return ordered
    at_least = "at least " if len(ordered) >= _MAX_FOUND else ""
    return [*ordered[:MAX_FAULTS], FieldError(at, f"There are {at_least}{more} more faults.")]


def _as_in_order(part: str) -> tuple[int, str]:
    """The tenth item comes after the ninth."""
    return (int(part), "") if len(part) < 10 and part.isascii() and part.isdecimal() else (1 << 40, part)
