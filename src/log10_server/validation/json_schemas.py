"""Checks a task's `json_schema`, and validates values against it (docs/api.md, "Task schemas", "Uploading feedback").

These functions do no I/O and can't be interrupted. `validators` decides whether they run in the server itself or in a
separate process.
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
from log10_server.validation.keywords import validator_class
from log10_server.validation.messages import message_of, quoted, short
from log10_server.validation.references import DRAFTS, Draft, Locations, References, resolver_of

SCHEMA, VALUES = "/json_schema", "/json_values"
LATEST = "https://json-schema.org/draft/2020-12/schema"

MAX_ERRORS = 100
_MAX_COUNTED = 1000  # the search for more errors ends here

_LIBRARY_CLASSES: dict[str, Any] = {
    "http://json-schema.org/draft-04/schema": jsonschema.Draft4Validator,
    "http://json-schema.org/draft-06/schema": jsonschema.Draft6Validator,
    "http://json-schema.org/draft-07/schema": jsonschema.Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema.Draft201909Validator,
    LATEST: jsonschema.Draft202012Validator,
}
_VALIDATOR_CLASSES = {
    dialect: validator_class(library_class, DRAFTS[dialect]) for dialect, library_class in _LIBRARY_CLASSES.items()
}

# The cost of these keywords is not bounded by the parts of the schema times the parts of the values. Neither is the
# cost of `uniqueItems`, because numbers can be chosen so that they all have the same hash.
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
_PLAIN_NESTING = 50  # a deeper schema may need more stack than is left in a request


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema that is ready to validate values."""

    parts: int  # about how many JSON values its text has
    _validator: Any

    def field_errors(self, values_text: str) -> list[FieldError]:
        """The errors of the values, sorted by path (below `/json_values`). The list is empty if they are valid.

        It has at most 100 errors, and then one more entry with the number of the others.
        """
        try:
            values = exact(values_text, VALUES)
        except Invalid as refusal:
            return _sorted_and_cut(refusal.field_errors, VALUES)
        except Refusal as refusal:
            return [FieldError(VALUES, refusal.detail)]
        if not isinstance(values, dict):
            return [FieldError(VALUES, "Must be an object.")]
        return _sorted_and_cut(_validation_errors(self._validator, values, VALUES), VALUES)


def check(text: str) -> None:
    """Check that a task may have this schema. Raises Invalid (`invalid_schema`) with everything that is wrong."""
    field_errors = _sorted_and_cut(_schema_errors(text), SCHEMA)
    if field_errors:
        raise Invalid(field_errors, code="invalid_schema")


def compiled(text: str) -> Schema:
    """Compile a schema that `check` has accepted. Raises Invalid if its draft is unknown, which `check` refuses."""
    schema = value(text)
    dialect = _dialect(schema)
    if dialect is None:
        raise Invalid(_schema_errors(text), code="invalid_schema")
    resolver = resolver_of(schema, DRAFTS[dialect])
    return Schema(parts_of(text), _validator(dialect, schema, resolver, formats.ASSERTED))


def compiled_if_plain(text: str) -> Schema | None:
    """Compile a schema if its shape bounds the cost of validating values; otherwise return None.

    The cost is then at most the parts of the schema times the parts of the values, in steps. A step takes
    half a microsecond on average, and four at worst.
    """
    if not _is_shallow(text):
        return None
    schema = value(text)
    dialect = _dialect(schema)
    if dialect is None or not is_plain(schema, DRAFTS[dialect]):
        return None
    return Schema(parts_of(text), _validator(dialect, schema, Registry().resolver(), formats.ASSERTED))


def parts_of(text: str) -> int:
    """About how many values a JSON text has. A long string counts as several."""
    return 1 + text.count(",") + text.count("{") + text.count("[") + len(text) // 100


def _schema_errors(text: str) -> list[FieldError]:
    try:
        schema = exact(text, SCHEMA)
    except Invalid as refusal:
        return refusal.field_errors
    except Refusal as refusal:
        return [FieldError(SCHEMA, refusal.detail)]
    if not isinstance(schema, dict):
        return [FieldError(SCHEMA, "Must be an object.")]
    dialect = _dialect(schema)
    if dialect is None:
        return [
            FieldError(
                SCHEMA + "/$schema", f"Must name one of {quoted(list(DRAFTS))}; it is {short(schema['$schema'])}."
            )
        ]
    draft, locations = DRAFTS[dialect], Locations(schema)
    field_errors = _validation_errors(_meta_validator(dialect), schema, SCHEMA)
    draft_errors = _draft_errors(draft.schemas_in(schema), dialect, locations)
    if draft_errors:  # references can be resolved only if the whole schema uses one draft
        return field_errors + draft_errors
    try:
        references = References(schema, draft, locations)
    except Exception as error:  # the libraries raise many kinds of exceptions for a value that is not a schema
        return field_errors or [_failure(error, SCHEMA)]
    for referred in references.referred:
        field_errors += _validation_errors(_meta_validator(dialect), referred, SCHEMA + locations.pointer_to(referred))
    field_errors += [FieldError(SCHEMA + path, message) for path, message in references.field_errors]
    field_errors += _draft_errors(references.schemas, dialect, locations)
    for subschema in references.schemas:
        field_errors += _pattern_errors(subschema, SCHEMA + locations.pointer_to(subschema))
    return field_errors


def _draft_errors(schemas: Iterable[dict[str, Any]], dialect: str, locations: Locations) -> list[FieldError]:
    return [
        FieldError(
            f"{SCHEMA}{locations.pointer_to(schema)}/$schema", "Must name the same draft as the whole schema does."
        )
        for schema in schemas
        if "$schema" in schema and _dialect(schema) != dialect
    ]


def _dialect(schema: Any) -> str | None:
    """The address of the draft that `$schema` names, without "#"; None if it names no draft that is known here."""
    named = schema.get("$schema", LATEST) if isinstance(schema, dict) else None
    if not isinstance(named, str):
        return None
    scheme, _, address = named.removesuffix("#").partition("://")
    drafts = (draft for draft in DRAFTS if draft.partition("://")[2] == address)
    return next(drafts, None) if scheme in ("http", "https") else None


def _pattern_errors(schema: dict[str, Any], path: str) -> Iterator[FieldError]:
    pattern, properties = schema.get("pattern"), schema.get("patternProperties")
    if isinstance(pattern, str) and (message := _compile_error(pattern)):
        yield FieldError(f"{path}/pattern", message)
    for name_pattern in properties if isinstance(properties, dict) else ():
        if message := _compile_error(name_pattern):
            yield FieldError(f"{path}/patternProperties{pointer(name_pattern)}", message)


def _compile_error(pattern: str) -> str:
    """Why a pattern does not compile; empty if it does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except re.error as error:
        return f"The pattern does not compile: {error.msg}."
    except Exception:  # OverflowError for a large repeat, RecursionError for deep groups, ...
        return "The pattern does not compile: it is too large."
    return ""


def is_plain(schema: dict[str, Any], draft: Draft) -> bool:
    """Whether no keyword in `schema` has a cost that its shape does not bound."""
    return all(
        _COSTLY.isdisjoint(part) and part.get("uniqueItems") is not True and part.get("format") != "regex"
        for part in draft.schemas_in(schema)
    )


def _is_shallow(text: str) -> bool:
    try:
        check_nesting(text, _PLAIN_NESTING)
    except Invalid:
        return False
    return True


def _validator(dialect: str, schema: dict[str, Any], resolver: Any, checker: Any) -> Any:
    return _VALIDATOR_CLASSES[dialect](schema, format_checker=checker, registry=Registry(), _resolver=resolver)


@cache
def _meta_validator(dialect: str) -> Any:
    """The validator of schemas of one draft, made from its meta-schema.

    It does not check formats, because references that are not valid URIs are common (with a space in a name), and work.
    Since 2019-09 the meta-schema is several documents that refer to one another dynamically. They are joined to one
    document here, which takes a quarter of the time.
    """
    root = REGISTRY.contents(dialect)
    joined: dict[str, Any] = {**root, "properties": {}, "$defs": {}} if "allOf" in root else root
    for vocabulary in root.get("allOf", ()):
        document = REGISTRY.contents(urljoin(dialect, vocabulary["$ref"]))
        joined["properties"] |= document["properties"]
        joined["$defs"] |= document.get("$defs", {})
    if joined is not root:
        joined["properties"] |= root["properties"]
        joined.pop("allOf")
        text = re.sub(r'"\$(?:dynamic|recursive)Ref": "#(?:meta)?"', '"$ref": "#"', json.dumps(joined))
        joined = json.loads(re.sub(r'"meta/\w+#', '"#', text))
    return _validator(dialect, joined, resolver_of(joined, DRAFTS[dialect]), None)


def _validation_errors(validator: Any, instance: Any, path: str) -> list[FieldError]:
    """The errors of `instance`, which is at `path` of the document."""
    field_errors = []
    try:
        for error in islice(validator.iter_errors(instance), _MAX_COUNTED):
            field_errors.append(FieldError(path + pointer(*error.absolute_path), message_of(error)))
    except MemoryError:
        raise
    except (
        Exception
    ) as error:  # odd schemas and values lead to many: OverflowError, RecursionError, TypeError, re.error
        field_errors.append(_failure(error, path))
    except BaseException as error:
        if not _is_end_of_stack(error):
            raise
        field_errors.append(_failure(error, path))
    return field_errors


def _is_end_of_stack(error: BaseException) -> bool:
    """Whether the error is a stack overflow.

    When the stack ends inside a map of `referencing`, which is written in Rust, that code panics. The panic is not an
    Exception, and its class can't be imported, so it is recognized by its name.
    """
    return isinstance(error, RecursionError) or type(error).__name__ == "PanicException"


def _failure(error: BaseException, path: str) -> FieldError:
    if _is_end_of_stack(error):
        return FieldError(path, "Can't be validated: the schema refers to itself without end, or nests too deeply.")
    return FieldError(path, "Can't be validated: the schema asks for something that can't be computed.")


def _sorted_and_cut(field_errors: Iterable[FieldError], path: str) -> list[FieldError]:
    """Sort the errors by path, without duplicates.

    More than 100 are cut, and one at `path` gives the number of the rest.
    """
    ordered = sorted(dict.fromkeys(field_errors), key=lambda error: [_sort_key(part) for part in error.path.split("/")])
    more = len(ordered) - MAX_ERRORS
    if more <= 0:
        return ordered
    at_least = "at least " if len(ordered) >= _MAX_COUNTED else ""
    return [
        *ordered[:MAX_ERRORS],
        FieldError(path, f"There are {at_least}{more} more errors." if more > 1 else "There is 1 more error."),
    ]


def _sort_key(part: str) -> tuple[int, str]:
    """Numbers sort by value, so that the tenth item comes after the ninth. They come before names."""
    return (int(part), "") if len(part) < 10 and part.isascii() and part.isdecimal() else (1 << 40, part)
