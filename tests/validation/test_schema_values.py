"""The errors that a task's schema finds in values, and their messages (docs/api.md, "Uploading feedback", "Task schemas")."""

import json
from typing import Any

import pytest

from log10_server.errors import FieldError
from log10_server.validation import json_schemas
from log10_server.validation.json_schemas import check, compiled, compiled_if_plain
from tests.validation.schemas import (
    DRAFT_4,
    DRAFT_6,
    DRAFT_7,
    DRAFT_2019,
    DRAFTS,
    OLD_DRAFTS,
    is_valid,
    paths,
    schema_errors,
    schema_text,
    value_errors,
)


def test_values_are_an_object() -> None:
    for text in ("[]", "null", '"x"', "1", "true"):
        assert compiled("{}").field_errors(text) == [FieldError("/json_values", "Must be an object.")]


def test_a_number_that_a_double_cannot_hold_is_refused() -> None:
    for text, path in (
        ('{"a": 1e400}', "/a"),
        ('{"a": {"b": [0, -1E999]}}', "/a/b/1"),
        (f'{{"a": {"9" * 5000}}}', "/a"),
    ):
        assert paths(compiled("{}").field_errors(text)) == ["/json_values" + path]


@pytest.mark.parametrize("draft", DRAFTS)
def test_every_error_has_its_path(draft: str) -> None:
    schema = {
        "type": "object",
        "properties": {
            "grade": {"type": "integer", "minimum": 1, "maximum": 5},
            "why": {"type": "string", "minLength": 3},
            "a/b~c": {"enum": ["x", "y"]},
            "parts": {"type": "array", "items": {"type": "object", "required": ["id", "name"]}},
        },
        "required": ["grade", "who"],
    }
    values = {"grade": 9, "why": "a", "a/b~c": "z", "parts": [{"id": 1, "name": 1}, *({"id": 1} for _ in range(10))]}

    field_errors = value_errors(schema_text(draft, schema), values)

    assert paths(field_errors) == [
        "/json_values",
        "/json_values/a~1b~0c",
        "/json_values/grade",
        *(f"/json_values/parts/{number}" for number in range(1, 11)),
        "/json_values/why",
    ]
    assert field_errors[0].message == 'The required property "who" is missing.'
    assert field_errors[1].message == 'Must be one of "x", "y"; it is "z".'
    assert field_errors[2].message == "Must be at most 5; it is 9."
    assert field_errors[-1].message == "Must have at least 3 characters; it has 1."


MESSAGES: list[tuple[dict[str, Any], Any, str]] = [
    ({"type": "string"}, 5, "Must be a string; it is 5."),
    ({"type": ["string", "null"]}, {"a": 1}, "Must be a string or null; it is an object."),
    ({"type": "integer"}, True, "Must be a whole number; it is true."),
    ({"type": "number"}, None, "Must be a number; it is null."),
    ({"const": {"a": 1}}, [1, 2], "Must be an object of 1; it is an array of 2."),
    ({"exclusiveMinimum": 1}, 1, "Must be greater than 1; it is 1."),
    ({"exclusiveMaximum": 1}, 1.5, "Must be less than 1; it is 1.5."),
    ({"multipleOf": 0.1}, 0.25, "Must be a multiple of 0.1; it is 0.25."),
    ({"pattern": "^a"}, "b", 'Must match the pattern "^a"; it is "b".'),
    ({"format": "date"}, "b", 'Must be of the format "date"; it is "b".'),
    ({"maxItems": 1}, [1, 2], "Must have at most 1 item; it has 2."),
    ({"minProperties": 1}, {}, "Must have at least 1 property; it has 0."),
    ({"uniqueItems": True}, [1, 1], "Must not have the same item twice."),
    ({"additionalProperties": False}, {"a": 1, "b": 1}, 'Not allowed: "a", "b".'),
    (
        {"propertyNames": {"maxLength": 1}},
        {"ab": 1},
        'The property name "ab" is not allowed: Must have at most 1 character; it has 2.',
    ),
    ({"not": {}}, 1, "Must not fit the schema in `not`."),
    ({"contains": {"type": "null"}}, [1], "Must have an item that fits the schema in `contains`."),
    ({"contains": {}, "maxContains": 1}, [1, 2], "Must have fewer items that fit the schema in `contains`."),
    ({"contains": {}, "minContains": 2}, [1], "Must have more items that fit the schema in `contains`."),
    ({"prefixItems": [{}], "items": False}, [1, 2], "Must have no items beyond those in `prefixItems`."),
    (
        {"dependentRequired": {"a": ["b"]}},
        {"a": 1},
        'The property "b" is required beside "a"; it is missing.',
    ),
    ({"oneOf": [{}, {"type": "number"}]}, 1, "Fits more than one of the schemas in `oneOf`."),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 1, "Must be a string or null; it is 1."),
    ({"anyOf": [{"minimum": 5}, {"multipleOf": 2}]}, 1, "Fits none of the 2 schemas in `anyOf`."),
    ({"enum": list(range(100))}, "x", 'Must be one of 0, 1, 2, 3, 4, 5, 6, 7 and 92 more; it is "x".'),
]


def test_a_message_names_the_rule() -> None:
    for schema, value, message in MESSAGES:
        assert value_errors({"properties": {"x": schema}}, {"x": value}) == [FieldError("/json_values/x", message)]


def test_a_message_names_the_rule_in_the_keywords_of_earlier_drafts() -> None:
    for draft, schema, value, message in (
        (DRAFT_4, {"items": [{}], "additionalItems": False}, [1, 2], "Must have no items beyond those in `items`."),
        (DRAFT_7, {"dependencies": {"a": ["b"]}}, {"a": 1}, 'The property "b" is required beside "a"; it is missing.'),
        (DRAFT_7, {"contains": {"type": "null"}}, [1], "Must have an item that fits the schema in `contains`."),
    ):
        text = schema_text(draft, {"properties": {"x": schema}})
        assert value_errors(text, {"x": value}) == [FieldError("/json_values/x", message)]


def test_an_empty_enum_is_explained() -> None:
    """Since draft 6 a schema may have it, and it allows nothing. Draft 4 forbids it."""
    for draft in DRAFTS[1:]:
        assert value_errors(schema_text(draft, {"properties": {"x": {"enum": []}}}), {"x": 5}) == [
            FieldError("/json_values/x", "No value is allowed here, because `enum` is empty.")
        ]
    assert schema_errors(schema_text(DRAFT_4, {"properties": {"x": {"enum": []}}})) == [
        FieldError("/json_schema/properties/x/enum", "Must have at least 1 item; it has 0.")
    ]


def test_a_value_where_nothing_is_allowed_has_a_message_and_its_path() -> None:
    assert value_errors({"properties": {"x": False}}, {"x": 1}) == [
        FieldError("/json_values/x", "Nothing is allowed here.")
    ]


def test_only_the_errors_of_the_branch_that_was_clearly_meant_are_listed() -> None:
    person = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    schema = {
        "properties": {
            "x": {"anyOf": [person, {"type": "null"}]},
            "y": {"oneOf": [{"type": "array", "items": person}, person]},
        }
    }

    assert paths(value_errors(schema, {"x": {"name": 1}})) == ["/json_values/x/name"]
    assert paths(value_errors(schema, {"x": {}})) == ["/json_values/x"]
    assert paths(value_errors(schema, {"y": [{"name": "a"}, {"name": 1}]})) == ["/json_values/y/1/name"]
    assert paths(value_errors(schema, {"x": 1})) == ["/json_values/x"]


def test_a_thousand_branches_make_one_error() -> None:
    branches = [{"properties": {f"p{number}": {"const": number}}, "required": [f"p{number}"]} for number in range(1000)]

    assert len(value_errors({"properties": {"x": {"anyOf": branches}}}, {"x": {}})) == 1


def test_only_the_first_hundred_errors_are_listed() -> None:
    schema = {"properties": {"x": {"items": {"type": "null"}}}}

    assert len(value_errors(schema, {"x": [1] * 100})) == 100
    assert value_errors(schema, {"x": [1] * 101})[-1] == FieldError("/json_values", "There is 1 more error.")
    assert value_errors(schema, {"x": [1] * 10**5})[-1] == FieldError(
        "/json_values", "There are at least 900 more errors."
    )


def test_a_message_shortens_the_values_in_it() -> None:
    schema = {
        "properties": {
            "long": {"maxLength": 1, "pattern": "b", "format": "date", "enum": ["y" * 10**5], "const": ["z" * 10**5]},
            "odd": {"const": "\ud800" * 200, "enum": ["\udfff"]},
            "many": {"const": 5},
            "digits": {"maximum": 5},
        },
        "required": ["n" * 10**5, "\ud800"],
        "additionalProperties": False,
        "unevaluatedProperties": False,
    }
    values = {
        "long": "a" * 10**5,
        "odd": "\ud83d",
        "many": [0] * 10**4,
        "digits": 10**3999,
        "\ud800" * 1000: 1,
        "e" * 10**5: 1,
    }

    field_errors = value_errors(schema, values)

    assert len(field_errors) >= 10
    for error in field_errors:
        assert len(error.message) < 400
        error.message.encode()


KEYWORDS: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    ({"multipleOf": 0.1}, [0.3, 0.7, 1.1, 1, 10**400, 1e300, -0.2, 0, 0.0], [0.35, 0.01, 1e-300, 5e-324]),
    ({"multipleOf": 0.01}, [4.35, 19.99, 1.13, 0.07, 123456789.01], [4.355, 0.001]),
    ({"multipleOf": 1e-300}, [1, 0.3, 1e-299, 10**3999, 1.7e308], [1.5e-300, 5e-324]),
    ({"multipleOf": 3}, [9, 9.0, 0, -3, 3 * 10**400], [10, 9.5, 10**400]),
    ({"multipleOf": 1.5}, [3, 4.5, 3 * 10**400], [4, 10**400 + 1]),
    ({"multipleOf": 10**400}, [10**401, 0], [1, 1e300, 10**400 + 1]),
    ({"minimum": 0.5}, [0.5, 10**400, 1e308], [0.4, -(10**400)]),
    ({"exclusiveMaximum": 10**400}, [10**400 - 1, 1.7e308], [10**400]),
    ({"type": "integer"}, [1, 1.0, 1e300, -0.0, 10**400], [1.5, True, False, "1", None]),
    ({"type": "number"}, [1, 1.5], [True, False, "1"]),
    ({"type": "boolean"}, [True, False], [0, 1, None]),
    ({"minimum": 5}, [True, False, "a", 5], [4]),
    ({"multipleOf": 5}, [True, "a", None, []], [4]),
    ({"const": 1}, [1, 1.0], [True, "1", 2]),
    ({"const": False}, [False], [0, 0.0, None, ""]),
    ({"const": [1, {"a": True}]}, [[1.0, {"a": True}]], [[1, {"a": 1}], [True, {"a": True}], [1], [1, {}]]),
    ({"enum": [1, "a", None, [False]]}, [1, 1.0, "a", None, [False]], [True, "b", [0], []]),
    (
        {"uniqueItems": True},
        [[1, True], [0, False], [[1], [True]], ["1", 1], [{"a": 1}, {"a": True}]],
        [[1, 1.0], [[1], [1]]],
    ),
    ({"uniqueItems": True}, [[[1], [True], ["a"]]], [[[1], [True], [1]], [{"a": 1, "b": 2}, {"b": 2.0, "a": 1}]]),
    ({"uniqueItems": False}, [[1, 1]], []),
    ({"minLength": 2, "maxLength": 2}, ["ab", "\U0001f600\U0001f600", "\ud800\ud800"], ["a", "\U0001f600"]),
    ({"minLength": 2.0}, ["ab", 1], ["a"]),
    ({"format": "date"}, ["2026-01-31", 5], ["2026-02-30"]),
    ({"format": "color"}, ["anything"], []),
    ({"dependentRequired": {"a": ["b"]}}, [{}, {"a": 1, "b": 1}], [{"a": 1}]),
    ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, [{}, {"a": 1, "b": 1}], [{"a": 1}]),
    ({"properties": {"a": {}}, "additionalProperties": {"type": "null"}}, [{"a": 1, "b": None}], [{"b": 1}]),
    ({"unevaluatedProperties": False, "properties": {"a": {}}}, [{"a": 1}], [{"b": 1}]),
]


def test_a_keyword_means_what_its_specification_says() -> None:
    for schema, good, bad in KEYWORDS:
        assert [value for value in good if not is_valid(schema, value)] == [], schema
        assert [value for value in bad if is_valid(schema, value)] == [], schema


@pytest.mark.parametrize("draft", [DRAFT_6, DRAFT_7, DRAFT_2019])
def test_additional_items_apply_only_beside_an_array_of_items(draft: str) -> None:
    """The library fails on a boolean in `items`, so the upload was refused."""
    for schema, good, bad in (
        ({"items": [{}], "additionalItems": False}, [[], [1]], [[1, 2]]),
        ({"items": [{}], "additionalItems": {"type": "null"}}, [[1], [1, None]], [[1, 1]]),
        ({"items": [True, False]}, [[1]], [[1, 2]]),
        ({"items": True, "additionalItems": False}, [[], [1]], []),
        ({"items": False, "additionalItems": True}, [[]], [[1]]),
        ({"items": {"type": "null"}, "additionalItems": False}, [[None]], [[1]]),
        ({"additionalItems": False}, [[1]], []),
    ):
        assert [value for value in good if not is_valid(schema, value, draft)] == [], schema
        assert [value for value in bad if is_valid(schema, value, draft)] == [], schema


@pytest.mark.parametrize("draft", OLD_DRAFTS)
def test_dependencies_are_names_or_a_schema(draft: str) -> None:
    schema = {"dependencies": {"a": ["b"], "c": {"minProperties": 2}}}

    assert [
        value for value in ({}, 5, {"b": 1}, {"a": 1, "b": 1}, {"c": 1, "d": 1}) if not is_valid(schema, value, draft)
    ] == []
    assert [value for value in ({"a": 1}, {"c": 1}) if is_valid(schema, value, draft)] == []


def test_draft_4_has_its_own_bounds_and_whole_numbers() -> None:
    bounds = {"minimum": 1, "exclusiveMinimum": True, "maximum": 5, "exclusiveMaximum": True}

    assert value_errors(schema_text(DRAFT_4, {"properties": {"x": bounds}}), {"x": 5}) == [
        FieldError("/json_values/x", "Must be less than 5; it is 5.")
    ]
    assert (
        value_errors(schema_text(DRAFT_4, {"properties": {"x": {"minimum": 1, "exclusiveMinimum": False}}}), {"x": 1})
        == []
    )
    assert is_valid({"minimum": 5}, True, DRAFT_4)
    assert not is_valid({"type": "integer"}, 1.0, DRAFT_4)
    assert paths(schema_errors(schema_text(DRAFT_4, {"exclusiveMinimum": 1}))) == [
        "/json_schema",
        "/json_schema/exclusiveMinimum",
    ]
    assert paths(schema_errors(schema_text(DRAFT_6, {"exclusiveMinimum": True}))) == ["/json_schema/exclusiveMinimum"]


def test_a_bad_schema_that_was_stored_without_the_check_refuses_all_values() -> None:
    schemas: list[dict[str, Any]] = [
        {"type": "strin"},
        {"minimum": "a"},
        {"pattern": "("},
        {"patternProperties": {"(": {}}},
        {"properties": 5},
        {"items": {"$ref": 5}},
        {"$ref": "#/nowhere"},
        {"$ref": "http://["},
        {"$id": "http://[", "properties": {"a": {}}},
        {"format": []},
        {"multipleOf": 0},
        {"required": 5},
        {"enum": 5},
        {"anyOf": []},
        {"dependentRequired": {"a": 5}},
        {"unevaluatedProperties": 5},
    ]
    for schema in schemas:
        field_errors = compiled(json.dumps(schema)).field_errors('{"a": 5, "b": "c", "d": [1]}')

        assert all(error.path.startswith("/json_values") for error in field_errors), schema


# Validation in the server itself


def test_a_schema_whose_shape_bounds_its_cost_is_plain() -> None:
    schemas: list[dict[str, Any]] = [
        {},
        {"type": "object", "properties": {"grade": {"type": "integer", "minimum": 1}}, "required": ["grade"]},
        {"properties": {"pattern": {"type": "string"}, "$ref": {"format": "date-time"}, "uniqueItems": {}}},
        {"anyOf": [{"enum": ["a"]}, {"not": {"const": {"$ref": "#", "pattern": "("}}}], "uniqueItems": False},
        {"unknown": {"pattern": "a"}, "default": {"uniqueItems": True}},
        {"if": {}, "then": {}, "contains": {}, "dependentSchemas": {"a": {}}, "propertyNames": {"maxLength": 5}},
    ]
    for schema in schemas:
        check(json.dumps(schema))

        assert compiled_if_plain(json.dumps(schema)) is not None, schema


def test_a_schema_with_a_costly_keyword_anywhere_is_not_plain() -> None:
    costly: list[dict[str, Any]] = [
        {"pattern": "a"},
        {"patternProperties": {"a": {}}},
        {"$ref": "#/$defs/a"},
        {"$dynamicRef": "#a"},
        {"uniqueItems": True},
        {"unevaluatedItems": False},
        {"unevaluatedProperties": {}},
        {"format": "regex"},
    ]
    for part in costly:
        for schema in (
            part,
            {"properties": {"x": part}},
            {"anyOf": [{}, {"items": {"not": part}}]},
            {"$defs": {"b": part}},
        ):
            text = json.dumps({**schema, "$anchor": "a"})

            assert compiled_if_plain(text) is None, text
    assert compiled_if_plain(schema_text(DRAFT_2019, {"items": {"$recursiveRef": "#"}})) is None


def test_a_deep_schema_and_one_of_another_draft_are_not_plain() -> None:
    deep: dict[str, Any] = {}
    for _ in range(60):
        deep = {"not": deep}

    assert compiled_if_plain(json.dumps(deep)) is None
    assert compiled_if_plain('{"$schema": "http://example.com"}') is None
    assert compiled_if_plain("[]") is None


def test_a_plain_schema_finds_the_same_errors_as_a_compiled_one() -> None:
    text = json.dumps({"properties": {"x": {"anyOf": [{"type": "string"}, {"minimum": 5}]}}, "required": ["y"]})
    plain = compiled_if_plain(text)

    assert plain is not None
    for values in ('{"x": 1}', '{"x": "a", "y": 1}', "[]", '{"x": 1e999}'):
        assert plain.field_errors(values) == compiled(text).field_errors(values)


def test_the_number_of_parts_is_about_the_number_of_values() -> None:
    assert json_schemas.parts_of("{}") == 2
    assert json_schemas.parts_of('{"a": [1, 2, 3]}') == 5
    assert json_schemas.parts_of(json.dumps({"a": "x" * 1000})) == 12
