"""Which members and items count as evaluated for `unevaluatedProperties` and `unevaluatedItems`, in both drafts.

The library's keywords of 2019-09 compare names only: they take the names of keywords inside
`additionalProperties` for names of properties, let `contains` evaluate items, and fail on `"items": true`.
"""

from typing import Any

import pytest

from log10_server.errors import FieldError
from tests.validation.schemas import DRAFT_2019, DRAFT_2020, NEW_DRAFTS, is_valid, schema_text, value_errors

CLOSED = {"unevaluatedProperties": False}
CLOSED_LIST = {"unevaluatedItems": False}

PROPERTIES: list[tuple[str, dict[str, Any], list[Any], list[Any]]] = [
    ("nothing else", CLOSED, [{}, 5, ["a"]], [{"a": 1}]),
    ("properties", {**CLOSED, "properties": {"a": {}}}, [{"a": 1}], [{"b": 1}]),
    ("patternProperties", {**CLOSED, "patternProperties": {"^a": {}, "z$": {}}}, [{"ab": 1, "yz": 1}], [{"ba": 1}]),
    (
        "additionalProperties as a schema",
        {**CLOSED, "properties": {"a": {}}, "additionalProperties": {"type": "string"}},
        [{"a": 1, "b": "x"}, {"type": "x"}],
        [{"b": 1}, {"type": 1}],
    ),
    (
        "additionalProperties of a branch",
        {**CLOSED, "allOf": [{"additionalProperties": {"maxLength": 3}}]},
        [{"maxLength": "abc", "b": "x"}],
        [{"maxLength": "abcd"}],
    ),
    (
        "unevaluatedProperties of a branch",
        {**CLOSED, "allOf": [{"properties": {"a": {}}, "unevaluatedProperties": {"type": "string"}}]},
        [{"a": 1, "b": "x"}],
        [{"b": 1}],
    ),
    ("itself, as a schema", {"unevaluatedProperties": {"type": "string"}}, [{"a": "x"}], [{"a": 1}, {"type": 1}]),
    (
        "the properties of another branch do not count",
        {"allOf": [{"properties": {"a": {}}}, CLOSED]},
        [{}],
        [{"a": 1}],
    ),
    (
        "$ref beside it",
        {
            **CLOSED,
            "$ref": "#/properties/x/$defs/d",
            "$defs": {"d": {"properties": {"a": {}}}},
            "properties": {"b": {}},
        },
        [{"a": 1, "b": 1}],
        [{"c": 1}],
    ),
    (
        "only the branches of anyOf that fit",
        {
            **CLOSED,
            "anyOf": [
                {"properties": {"a": {"const": 1}}, "required": ["a"]},
                {"properties": {"b": {"const": 1}}, "required": ["b"]},
            ],
        },
        [{"a": 1}, {"b": 1}, {"a": 1, "b": 1}],
        [{"a": 1, "b": 2}, {"a": 2, "b": 1}],
    ),
    (
        "only the branch of oneOf that fits",
        {
            **CLOSED,
            "oneOf": [{"properties": {"a": {}}, "required": ["a"]}, {"properties": {"b": {}}, "maxProperties": 0}],
        },
        [{"a": 1}, {}],
        [{"a": 1, "b": 1}],
    ),
    (
        "if with then, or else",
        {
            **CLOSED,
            "if": {"properties": {"a": {"const": 1}}, "required": ["a"]},
            "then": {"properties": {"b": {}}},
            "else": {"properties": {"c": {}}},
        },
        [{"a": 1, "b": 1}, {"c": 1}, {}],
        [{"a": 1, "c": 1}, {"b": 1}, {"a": 2}],
    ),
    ("if alone", {**CLOSED, "if": {"properties": {"a": {"const": 1}}, "required": ["a"]}}, [{"a": 1}], [{"a": 2}]),
    ("then without if", {**CLOSED, "then": {"properties": {"a": {}}}}, [{}], [{"a": 1}]),
    (
        "dependentSchemas for a property that is present",
        {**CLOSED, "properties": {"a": {}}, "dependentSchemas": {"a": {"properties": {"b": {}}}}},
        [{"a": 1, "b": 1}],
        [{"b": 1}],
    ),
    ("not evaluates nothing", {**CLOSED, "not": {"not": {"properties": {"a": {}}}}}, [{}], [{"a": 1}]),
    ("boolean branches evaluate nothing", {**CLOSED, "allOf": [True], "anyOf": [True, False]}, [{}], [{"a": 1}]),
    (
        "a property of a property is not evaluated",
        {"properties": {"a": {"properties": {"b": {}}}}, **CLOSED},
        [{"a": {"c": 1}}],
        [{"b": 1}],
    ),
]
ITEMS: list[tuple[str, dict[str, Any], list[Any], list[Any]]] = [
    ("nothing else", CLOSED_LIST, [[], 5, {"a": 1}], [[1]]),
    ("items", {**CLOSED_LIST, "items": {"type": "string"}}, [["a", "b"]], [["a", 1]]),
    ("items is true", {**CLOSED_LIST, "items": True}, [["a", 1]], []),
    ("items of a branch", {**CLOSED_LIST, "allOf": [{"items": True}]}, [["a", 1]], []),
    (
        "unevaluatedItems of a branch",
        {**CLOSED_LIST, "anyOf": [{"unevaluatedItems": {"type": "null"}}]},
        [[None]],
        [[1]],
    ),
    ("itself, as a schema", {"unevaluatedItems": {"type": "string"}}, [["a"]], [[1], ["a", 1]]),
    ("if and else", {**CLOSED_LIST, "if": {"minItems": 2}, "else": {"items": {}}}, [[1]], [[1, 2]]),
    ("dependentSchemas is for objects", {**CLOSED_LIST, "dependentSchemas": {"a": {"items": True}}}, [[]], [["a", 1]]),
]
ITEMS_OF_2019: list[tuple[str, dict[str, Any], list[Any], list[Any]]] = [
    ("an array of items", {**CLOSED_LIST, "items": [{}, {}]}, [[1], [1, 2]], [[1, 2, 3]]),
    (
        "additionalItems beside an array",
        {**CLOSED_LIST, "items": [{"type": "integer"}], "additionalItems": {"type": "string"}},
        [[1, "a"]],
        [[1, 1]],
    ),
    ("additionalItems alone means nothing", {**CLOSED_LIST, "additionalItems": {}}, [[]], [["a"]]),
    (
        "the longest branch that fits",
        {**CLOSED_LIST, "anyOf": [{"items": [{"const": 1}]}, {"items": [{}, {"const": 2}]}]},
        [[1], [1, 2], [0, 2]],
        [[1, 3], [1, 2, 3]],
    ),
    ("contains evaluates nothing", {**CLOSED_LIST, "contains": {"type": "string"}}, [], [["a"], ["a", 1]]),
    ("prefixItems is unknown", {**CLOSED_LIST, "prefixItems": [{}]}, [[]], [[1]]),
]
ITEMS_OF_2020: list[tuple[str, dict[str, Any], list[Any], list[Any]]] = [
    ("prefixItems", {**CLOSED_LIST, "prefixItems": [{}, {}]}, [[1], [1, 2]], [[1, 2, 3]]),
    ("items after prefixItems", {**CLOSED_LIST, "prefixItems": [{}], "items": {"type": "null"}}, [[1, None]], [[1, 1]]),
    ("contains", {**CLOSED_LIST, "contains": {"type": "string"}}, [["a"], ["a", "b"]], [["a", 1]]),
    (
        "contains of a branch, by index",
        {**CLOSED_LIST, "prefixItems": [{}], "allOf": [{"contains": {"const": "a"}, "minContains": 0}]},
        [[1], [1, "a", "a"]],
        [[1, "a", 2, "a"]],
    ),
    ("additionalItems is unknown", {**CLOSED_LIST, "additionalItems": {}}, [[]], [[1]]),
]


@pytest.mark.parametrize("draft", NEW_DRAFTS)
@pytest.mark.parametrize(
    ("schema", "good", "bad"), [case[1:] for case in PROPERTIES], ids=[case[0] for case in PROPERTIES]
)
def test_unevaluated_properties(draft: str, schema: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not is_valid(schema, value, draft)] == []
    assert [value for value in bad if is_valid(schema, value, draft)] == []


@pytest.mark.parametrize(
    ("draft", "cases"), [(DRAFT_2019, ITEMS + ITEMS_OF_2019), (DRAFT_2020, ITEMS + ITEMS_OF_2020)], ids=["2019", "2020"]
)
def test_unevaluated_items(draft: str, cases: Any) -> None:
    wrong = [
        (name, value)
        for name, schema, good, bad in cases
        for value in good + bad
        if is_valid(schema, value, draft) != (value in good)
    ]

    assert wrong == []


def test_the_message_names_what_is_not_evaluated() -> None:
    closed = {"properties": {"a": {"unevaluatedItems": False, "contains": {"type": "null"}}, "b": {}}, **CLOSED}
    nested = {"properties": {"a": {"unevaluatedItems": {"type": "string"}}}, "unevaluatedProperties": {"type": "null"}}

    assert value_errors(closed, {"a": [1, None, 2], "b": 1, "c": 1, "d": 1}) == [
        FieldError("/json_values", 'Not allowed: "c", "d".'),
        FieldError("/json_values/a", "Not allowed: the items at 0, 2, counted from 0."),
    ]
    assert value_errors(nested, {"a": ["x", 1], "b": 1}) == [
        FieldError("/json_values/a/1", "Must be a string; it is 1."),
        FieldError("/json_values/b", "Must be null; it is 1."),
    ]


def test_a_property_that_is_wrong_is_not_also_called_not_allowed() -> None:
    schema = {"allOf": [{"properties": {"a": {"type": "string"}}}], **CLOSED}

    assert value_errors(schema, {"a": 1}) == [FieldError("/json_values/a", "Must be a string; it is 1.")]


@pytest.mark.parametrize(
    ("draft", "anchor", "reference"),
    [
        (DRAFT_2019, {"$recursiveAnchor": True}, {"$recursiveRef": "#"}),
        (DRAFT_2020, {"$dynamicAnchor": "node"}, {"$dynamicRef": "#node"}),
    ],
)
def test_a_dynamic_reference_evaluates_what_it_leads_to(
    draft: str, anchor: dict[str, Any], reference: dict[str, Any]
) -> None:
    tree = {"$id": "tree", **anchor, "properties": {"children": {"items": reference}}}
    schema = {**anchor, "$ref": "tree", "properties": {"data": True}, "$defs": {"tree": tree}, **CLOSED}

    assert value_errors(schema_text(draft, schema), {"data": 1, "children": [{"data": 1}]}) == []
    assert value_errors(schema_text(draft, schema), {"children": [{"daat": 1}]})


@pytest.mark.parametrize("draft", NEW_DRAFTS)
def test_references_in_a_branch_with_its_own_id_are_resolved_there(draft: str) -> None:
    branch = {"$id": "http://e.com/b", "$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": {}}}}}
    schema = schema_text(draft, {"$id": "http://e.com/a", "allOf": [branch], **CLOSED})

    assert value_errors(schema, {"b": 1}) == []
    assert value_errors(schema, {"a": 1})
