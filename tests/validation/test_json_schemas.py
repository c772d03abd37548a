"""The rules for the schema of a task, for every draft (docs/api.md, "Task schemas")."""

import json
import re
import warnings
from typing import Any

import jsonschema
import pytest

from log10_server.errors import FieldError, Invalid
from log10_server.validation.json_schemas import MAX_ERRORS, check
from tests.validation.schemas import (
    DRAFT_7,
    DRAFT_2019,
    DRAFT_2020,
    DRAFTS,
    is_valid,
    paths,
    schema_errors,
    schema_text,
    value_errors,
)

# Drafts


@pytest.mark.parametrize("draft", DRAFTS)
def test_every_spelling_of_the_address_of_a_draft_is_accepted(draft: str) -> None:
    address = re.sub("^https?://", "", draft).rstrip("#")

    for spelling in (f"http://{address}", f"https://{address}", f"http://{address}#", f"https://{address}#"):
        schema = schema_text(spelling, {"properties": {"x": {"type": "string"}}})
        assert value_errors(schema, {"x": "a"}) == []
        assert paths(value_errors(schema, {"x": 1})) == ["/json_values/x"]


def test_another_draft_is_refused() -> None:
    others: list[Any] = [
        "http://json-schema.org/draft-03/schema#",
        "http://json-schema.org/schema#",
        "http://json-schema.org/draft-07/schema##",
        "http://json-schema.org/draft-07/schema#/definitions",
        "ftp://json-schema.org/draft-07/schema",
        "json-schema.org/draft-07/schema",
        "http://example.com/own",
        "",
        "#",
        None,
        7,
        ["http://json-schema.org/draft-07/schema#"],
        {"a": "b" * 5000},
    ]
    for other in others:
        (error,) = schema_errors({"$schema": other})

        assert error.path == "/json_schema/$schema"
        assert len(error.message) < 500


def test_without_schema_the_latest_draft_is_used() -> None:
    schema = {"properties": {"x": {"prefixItems": [{"type": "string"}], "items": False}}}

    assert value_errors(schema, {"x": ["a"]}) == []
    assert value_errors(schema, {"x": [1]})
    assert value_errors(schema, {"x": ["a", 1]})


def test_a_subschema_must_be_of_the_same_draft() -> None:
    same = {
        "$schema": DRAFT_7,
        "properties": {"x": {"$schema": "https://json-schema.org/draft-07/schema", "type": "null"}},
    }
    other = {"$schema": DRAFT_7, "properties": {"x": {"$schema": DRAFT_2020, "$dynamicAnchor": {}}}}

    assert paths(value_errors(same, {"x": 1})) == ["/json_values/x"]
    assert paths(schema_errors(other)) == ["/json_schema/properties/x/$schema"]
    referred = {"$ref": "#/parts/a", "parts": {"a": {"$schema": DRAFT_7}}}
    assert paths(schema_errors(referred)) == ["/json_schema/parts/a/$schema"]


def test_a_schema_that_names_its_draft_keeps_our_checks_in_references_to_itself() -> None:
    """The library follows `$schema` to its own class, for which 0.3 is not a multiple of 0.1."""
    schema = schema_text(DRAFT_2020, {"multipleOf": 0.1, "properties": {"x": {"$ref": "#"}}})

    assert value_errors(schema, {"x": 0.3}) == []


# Valid and invalid schemas


def test_a_schema_is_an_object() -> None:
    for text in ("true", "false", "[]", '"x"', "1", "null", "[{}]"):
        assert schema_errors(text) == [FieldError("/json_schema", "Must be an object.")]


BAD_SCHEMAS: list[tuple[dict[str, Any], str]] = [
    ({"properties": {"x": {"type": "strin"}}}, "/properties/x/type"),
    ({"properties": {"x": {"type": 5}}}, "/properties/x/type"),
    ({"properties": {"x": {"type": ["string", "strin"]}}}, "/properties/x/type/1"),
    ({"properties": {"x": {"type": []}}}, "/properties/x/type"),
    ({"properties": {"a/b~c": {"minLength": -1}}}, "/properties/a~1b~0c/minLength"),
    ({"properties": {"x": {"minLength": "1"}}}, "/properties/x/minLength"),
    ({"properties": {"x": {"multipleOf": 0}}}, "/properties/x/multipleOf"),
    ({"properties": {"x": {"maximum": "9"}}}, "/properties/x/maximum"),
    ({"properties": {"x": {"enum": "a"}}}, "/properties/x/enum"),
    ({"properties": 5}, "/properties"),
    ({"properties": {"x": 5}}, "/properties/x"),
    ({"required": "x"}, "/required"),
    ({"required": ["x", "x"]}, "/required"),
    ({"allOf": {}}, "/allOf"),
    ({"anyOf": []}, "/anyOf"),
    ({"items": 5}, "/items"),
    ({"items": {"type": 5}}, "/items/type"),
    ({"not": {"not": {"uniqueItems": 1}}}, "/not/not/uniqueItems"),
    ({"definitions": {"x": {"pattern": 5}}}, "/definitions/x/pattern"),
    ({"additionalProperties": {"format": 5}}, "/additionalProperties/format"),
]


@pytest.mark.parametrize("draft", DRAFTS)
def test_an_error_has_its_path(draft: str) -> None:
    for schema, path in BAD_SCHEMAS:
        assert paths(schema_errors(schema_text(draft, schema))) == ["/json_schema" + path]


def test_every_error_is_listed_once_and_in_order() -> None:
    schema = {
        "properties": {"b": {"type": "strin"}, "a": {"minLength": -1, "pattern": "("}, "c": {"$ref": "#/nowhere"}},
        "allOf": [{"minItems": 1.5} if number in (2, 10) else {} for number in range(11)],
    }

    assert paths(schema_errors(schema)) == [
        "/json_schema/allOf/2/minItems",
        "/json_schema/allOf/10/minItems",
        "/json_schema/properties/a/minLength",
        "/json_schema/properties/a/pattern",
        "/json_schema/properties/b/type",
        "/json_schema/properties/c/$ref",
    ]


def test_only_the_first_hundred_errors_are_listed_and_the_others_are_counted() -> None:
    few = schema_errors({"properties": {f"x{number}": {"type": 5} for number in range(150)}})
    many = schema_errors({"properties": {f"x{number}": {"type": 5} for number in range(3000)}})

    assert len(few) == len(many) == MAX_ERRORS + 1
    assert few[-1] == FieldError("/json_schema", "There are 50 more errors.")
    assert many[-1] == FieldError("/json_schema", "There are at least 900 more errors.")


def test_a_message_is_short_and_printable() -> None:
    long = "x" * 100_000
    schema = {
        "type": long,
        "minLength": {"a": long},
        "required": [1, "\ud800"],
        "properties": {"\udfff": {"$ref": long + "\ud800"}, "y": {"enum": [long], "type": [long]}},
    }

    for error in schema_errors(schema):
        assert len(error.message) < 400
        error.message.encode()


def test_a_number_that_a_double_cannot_hold_is_refused_anywhere() -> None:
    for number in ("1e400", "-1e400", "9" * 5000, "1" + "0" * 400 + ".5"):
        for text, path in (
            (f'{{"maximum": {number}}}', "/maximum"),
            (f'{{"const": [{number}]}}', "/const/0"),
            (f'{{"unknown": {{"a": {number}}}}}', "/unknown/a"),
        ):
            assert paths(schema_errors(text)) == ["/json_schema" + path]


def test_a_large_whole_number_is_kept() -> None:
    assert value_errors({"properties": {"x": {"const": 10**400}}}, {"x": 10**400}) == []
    assert value_errors({"properties": {"x": {"const": 10**400}}}, {"x": 10**400 + 1})


@pytest.mark.parametrize("draft", DRAFTS)
def test_unknown_keywords_are_annotations(draft: str) -> None:
    schema = schema_text(
        draft, {"properties": {"x": {"type": "string", "multi": True, "nullable": "no", "x-y": {"type": 5}}}}
    )

    assert value_errors(schema, {"x": "a"}) == []


# Patterns


def test_a_pattern_that_does_not_compile_is_refused() -> None:
    patterns = ["(", "[a", "a{2,1}", "\\p{L}", "(?<=a+)b", "a{99999999999999999999}", "(" * 5000, "\\cA"]
    for index, pattern in enumerate(patterns):
        draft = DRAFTS[index % len(DRAFTS)]
        schema = schema_text(draft, {"properties": {"x": {"pattern": pattern}}, "patternProperties": {pattern: {}}})

        field_errors = schema_errors(schema)

        assert paths(field_errors) == [f"/json_schema/patternProperties/{pattern}", "/json_schema/properties/x/pattern"]
        assert all("does not compile" in error.message for error in field_errors)


def test_a_pattern_is_in_the_syntax_of_python_and_gives_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for pattern in ("[[a]", "(?i)A", "(?P<x>a)(?P=x)", "\\A\\Z", "(?<!b)a"):
            check(json.dumps({"pattern": pattern}))


def test_a_pattern_is_a_search() -> None:
    assert is_valid({"pattern": "b"}, "abc")
    assert not is_valid({"pattern": "^b"}, "abc")
    assert is_valid({"pattern": "^a$"}, "a\n")  # as in Python


def test_each_pattern_of_property_names_is_matched_separately() -> None:
    """The library joins the patterns to one, which does not compile in this case."""
    schema = {"patternProperties": {"^a": {}, "(?i)^b": {}, "^(c)\\1$": {}}, "additionalProperties": False}

    assert value_errors(schema, {"a1": 1, "B1": 1, "cc": 1}) == []
    assert "d" in value_errors(schema, {"d": 1})[0].message


def test_a_value_that_only_looks_like_a_pattern_is_data() -> None:
    properties = {"properties": {"pattern": {"type": "string"}}}

    check(json.dumps({"const": {"pattern": "("}, **properties, "note": {"pattern": "\\p{L}"}}))


def test_the_joined_meta_schemas_find_the_same_errors_as_those_of_the_library() -> None:
    schemas: list[dict[str, Any]] = [
        {},
        {"type": "object", "$defs": {"a": True, "b": {"type": "null"}}, "if": {}, "then": {}, "else": False},
        {"$defs": {"a": 5}},
        {"contains": 5},
        {"minContains": -1},
        {"dependentRequired": {"a": "b"}},
        {"dependentSchemas": {"a": {"type": 5}}},
        {"dependencies": {"a": ["b"], "c": {}}},
        {"dependencies": {"a": 5}},
        {"prefixItems": []},
        {"prefixItems": [{"type": 5}]},
        {"items": []},
        {"items": [{}]},
        {"unevaluatedItems": {"unevaluatedProperties": 5}},
        {"contentSchema": {"type": 5}, "contentMediaType": "a/b"},
        {"contentEncoding": 5},
        {"title": 5},
        {"readOnly": "x"},
        {"examples": 5},
        {"$comment": 5},
        {"$vocabulary": {"http://a": 1}},
        {"$anchor": "#a"},
        {"$id": "#a"},
        {"$id": 5},
        {"$recursiveAnchor": "true"},
        {"$dynamicAnchor": 5},
        {"deprecated": "x"},
        {"additionalItems": 5},
        {"propertyNames": {"propertyNames": {"type": 5}}},
        {"format": "anything"},
    ]
    library_classes = {DRAFT_2019: jsonschema.Draft201909Validator, DRAFT_2020: jsonschema.Draft202012Validator}

    for draft, library_class in library_classes.items():
        for schema in schemas:
            is_good = list(library_class(library_class.META_SCHEMA).iter_errors(schema)) == []
            assert is_good == _passes_check(schema_text(draft, schema)), schema


def _passes_check(text: str) -> bool:
    try:
        check(text)
    except Invalid:
        return False
    return True
