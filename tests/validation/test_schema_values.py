"""What a task's schema finds wrong with values, and how it is said (docs/api.md, "Uploading feedback", "Task schemas")."""

import json
from typing import Any

import pytest

from log10_server.errors import FieldError
from log10_server.validation import json_schemas
from log10_server.validation.json_schemas import check, compiled, compiled_if_plain
from tests.validation.schemas import (
    DRAFT_4,
    DRAFT_6,
    DRAFTS,
    faults,
    holds,
    of,
    paths,
    refused,
)


@pytest.mark.parametrize("text", ["[]", "null", '"x"', "1", "true"])
def test_values_are_an_object(text: str) -> None:
    assert compiled("{}").faults(text) == [FieldError("/json_values", "Must be an object.")]


@pytest.mark.parametrize(
    ("text", "at"), [('{"a": 1e400}', "/a"), ('{"a": {"b": [0, -1E999]}}', "/a/b/1"), (f'{{"a": {"9" * 5000}}}', "/a")]
)
def test_a_number_that_cannot_be_held_is_refused(text: str, at: str) -> None:
    assert paths(compiled("{}").faults(text)) == ["/json_values" + at]


@pytest.mark.parametrize("draft", DRAFTS)
def test_every_failure_has_its_place(draft: str) -> None:
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

    found = faults(of(draft, schema), values)

    assert paths(found) == [
        "/json_values",
        "/json_values/a~1b~0c",
        "/json_values/grade",
        *(f"/json_values/parts/{number}" for number in range(1, 11)),
        "/json_values/why",
    ]
    assert found[0].message == 'The required property "who" is missing.'
    assert found[1].message == 'Must be one of "x", "y"; it is "z".'
    assert found[2].message == "Must be at most 5; it is 9."
    assert found[-1].message == "Must have at least 3 characters; it has 1."


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
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
        ({"maxItems": 1}, [1, 2], "Must have at most 1 items; it has 2."),
        ({"minProperties": 1}, {}, "Must have at least 1 properties; it has 0."),
        ({"uniqueItems": True}, [1, 1], "Must not have the same item twice."),
        ({"additionalProperties": False}, {"a": 1, "b": 1}, 'Not allowed: "a", "b".'),
        (
            {"propertyNames": {"maxLength": 1}},
            {"ab": 1},
            'The property name "ab" is not allowed: Must have at most 1 characters; it has 2.',
        ),
        ({"not": {}}, 1, "Must not fit the schema in `not`."),
        ({"contains": {"type": "null"}}, [1], "Must have an item that fits the schema in `contains`."),
        ({"contains": {}, "maxContains": 1}, [1, 2], "Must have fewer items that fit the schema in `contains`."),
        ({"contains": {}, "minContains": 2}, [1], "Must have more items that fit the schema in `contains`."),
        ({"prefixItems": [{}], "items": False}, [1, 2], "Must have no items beyond those in `prefixItems`."),
        ({"oneOf": [{}, {"type": "number"}]}, 1, "Fits more than one of the schemas in `oneOf`."),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 1, "Must be a string or null; it is 1."),
        ({"anyOf": [{"minimum": 5}, {"multipleOf": 2}]}, 1, "Fits none of the 2 schemas in `anyOf`."),
        ({"enum": list(range(100))}, "x", 'Must be one of 0, 1, 2, 3, 4, 5, 6, 7 and 92 more; it is "x".'),
    ],
)
def test_a_message_names_the_rule(schema: dict[str, Any], value: Any, message: str) -> None:
    assert faults({"properties": {"x": schema}}, {"x": value}) == [FieldError("/json_values/x", message)]


def test_where_nothing_is_allowed_that_is_said() -> None:
    assert faults({"properties": {"x": False}}, {"x": 1}) == [FieldError("/json_values/x", "Nothing is allowed here.")]


def test_a_branch_that_was_clearly_meant_is_the_one_that_is_said() -> None:
    person = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    schema = {
        "properties": {
            "x": {"anyOf": [person, {"type": "null"}]},
            "y": {"oneOf": [{"type": "array", "items": person}, person]},
        }
    }

    assert paths(faults(schema, {"x": {"name": 1}})) == ["/json_values/x/name"]
    assert paths(faults(schema, {"x": {}})) == ["/json_values/x"]
    assert paths(faults(schema, {"y": [{"name": "a"}, {"name": 1}]})) == ["/json_values/y/1/name"]
    assert paths(faults(schema, {"x": 1})) == ["/json_values/x"]


def test_a_thousand_branches_make_one_fault() -> None:
    branches = [{"properties": {f"p{number}": {"const": number}}, "required": [f"p{number}"]} for number in range(1000)]

    assert len(faults({"properties": {"x": {"anyOf": branches}}}, {"x": {}})) == 1


def test_of_many_failures_the_first_hundred_are_said() -> None:
    schema = {"properties": {"x": {"items": {"type": "null"}}}}

    assert len(faults(schema, {"x": [1] * 100})) == 100
    assert faults(schema, {"x": [1] * 101})[-1] == FieldError("/json_values", "There are 1 more faults.")
    assert faults(schema, {"x": [1] * 10**5})[-1] == FieldError("/json_values", "There are at least 900 more faults.")


def test_a_message_shortens_what_it_shows() -> None:
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

    found = faults(schema, values)

    assert len(found) >= 10
    for fault in found:
        assert len(fault.message) < 400
        fault.message.encode()


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
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
    ],
)
def test_a_keyword_means_what_it_says(schema: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not holds(schema, value)] == []
    assert [value for value in bad if holds(schema, value)] == []


def test_draft_4_has_its_own_bounds_and_whole_numbers() -> None:
    bounds = {"minimum": 1, "exclusiveMinimum": True, "maximum": 5, "exclusiveMaximum": True}

    assert faults(of(DRAFT_4, {"properties": {"x": bounds}}), {"x": 5}) == [
        FieldError("/json_values/x", "Must be less than 5; it is 5.")
    ]
    assert faults(of(DRAFT_4, {"properties": {"x": {"minimum": 1, "exclusiveMinimum": False}}}), {"x": 1}) == []
    assert holds({"$schema": DRAFT_4, "minimum": 5}, True)
    assert not holds({"$schema": DRAFT_4, "type": "integer"}, 1.0)
    assert paths(refused(of(DRAFT_4, {"exclusiveMinimum": 1}))) == ["/json_schema", "/json_schema/exclusiveMinimum"]
    assert paths(refused(of(DRAFT_6, {"exclusiveMinimum": True}))) == ["/json_schema/exclusiveMinimum"]


@pytest.mark.parametrize(
    "schema",
    [
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
    ],
)
def test_an_odd_schema_that_came_past_the_check_refuses_and_does_not_crash(schema: dict[str, Any]) -> None:
    found = compiled(json.dumps(schema)).faults('{"a": 5, "b": "c", "d": [1]}')

    assert all(fault.path.startswith("/json_values") for fault in found)


# What is validated in place


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"grade": {"type": "integer", "minimum": 1}}, "required": ["grade"]},
        {"properties": {"pattern": {"type": "string"}, "$ref": {"format": "date-time"}, "uniqueItems": {}}},
        {"anyOf": [{"enum": ["a"]}, {"not": {"const": {"$ref": "#", "pattern": "("}}}], "uniqueItems": False},
        {"unknown": {"pattern": "a"}, "default": {"uniqueItems": True}},
        {"if": {}, "then": {}, "contains": {}, "dependentSchemas": {"a": {}}, "propertyNames": {"maxLength": 5}},
    ],
)
def test_a_schema_whose_shape_bounds_its_cost_is_plain(schema: dict[str, Any]) -> None:
    check(json.dumps(schema))

    assert compiled_if_plain(json.dumps(schema)) is not None


@pytest.mark.parametrize(
    "costly",
    [
        {"pattern": "a"},
        {"patternProperties": {"a": {}}},
        {"$ref": "#/$defs/a"},
        {"$dynamicRef": "#a"},
        {"uniqueItems": True},
        {"unevaluatedItems": False},
        {"unevaluatedProperties": {}},
        {"format": "regex"},
    ],
)
@pytest.mark.parametrize(
    "around",
    [
        lambda part: part,
        lambda part: {"properties": {"x": part}},
        lambda part: {"anyOf": [{}, {"items": {"not": part}}]},
        lambda part: {"$defs": {"b": part}},
    ],
)
def test_any_other_is_not(costly: dict[str, Any], around: Any) -> None:
    schema = {"$defs": {"a": {"$dynamicAnchor": "a"}}, **around(costly)}

    assert compiled_if_plain(json.dumps(schema)) is None


def test_nor_is_a_deep_one_nor_one_of_another_draft() -> None:
    deep: dict[str, Any] = {}
    for _ in range(60):
        deep = {"not": deep}

    assert compiled_if_plain(json.dumps(deep)) is None
    assert compiled_if_plain('{"$schema": "http://example.com"}') is None
    assert compiled_if_plain("[]") is None


def test_a_plain_schema_finds_what_any_other_finds() -> None:
    text = json.dumps({"properties": {"x": {"anyOf": [{"type": "string"}, {"minimum": 5}]}}, "required": ["y"]})
    plain = compiled_if_plain(text)

    assert plain is not None
    for values in ('{"x": 1}', '{"x": "a", "y": 1}', "[]", '{"x": 1e999}'):
        assert plain.faults(values) == compiled(text).faults(values)


def test_the_parts_of_a_text_are_about_the_values_in_it() -> None:
    assert json_schemas.parts_of("{}") == 2
    assert json_schemas.parts_of('{"a": [1, 2, 3]}') == 5
    assert json_schemas.parts_of(json.dumps({"a": "x" * 1000})) == 12
