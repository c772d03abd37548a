"""Where the references of a task's schema may lead (docs/api.md, "Task schemas")."""

import json
import socket
from typing import Any

import pytest

from log10_server.validation.json_schemas import check, compiled
from tests.validation.schemas import (
    DRAFT_4,
    DRAFT_6,
    DRAFT_7,
    DRAFT_2019,
    DRAFT_2020,
    DRAFTS,
    NEW_DRAFTS,
    OLD_DRAFTS,
    is_valid,
    paths,
    schema_errors,
    schema_text,
    value_errors,
)

OUTSIDE = [
    "http://example.com/schema",
    "https://json-schema.org/draft/2020-12/schema",
    "http://json-schema.org/draft-07/schema#",
    "http://json-schema.org/draft-04/schema#/definitions/positiveInteger",
    "https://json-schema.org/draft/2020-12/meta/validation",
    "other.json",
    "other.json#/definitions/a",
    "//example.com/a",
    "/a",
    "file:///etc/passwd",
    "urn:example:other",
]
NOWHERE = [
    "#/nowhere",
    "#/definitions/b",
    "#nowhere",
    "#/definitions/a/",
    "#/type/0",
    "#/allOf/5",
    "#/allOf/-1",
    "#/allOf/00",
    "#/allOf/x",
    "#/required",
    "#/title",
]


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_reference_that_leaves_the_document_is_refused(draft: str) -> None:
    properties = {f"x{index:02}": {"$ref": reference} for index, reference in enumerate(OUTSIDE)}

    field_errors = schema_errors(schema_text(draft, {"title": "abc", "properties": properties}))

    assert paths(field_errors) == [f"/json_schema/properties/x{index:02}/$ref" for index in range(len(OUTSIDE))]
    assert all("leaves the document" in error.message for error in field_errors)


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_reference_is_found_wherever_a_schema_is_allowed(draft: str) -> None:
    outside = {"$ref": "http://example.com/schema"}
    schema = {
        "additionalProperties": outside,
        "anyOf": [{}, {"not": outside}],
        "definitions": {"a": {}, "unused": outside},
        "items": outside,
        "patternProperties": {"^x": outside},
        "properties": {"$ref": outside, "enum": {"oneOf": [outside]}},
    }

    assert paths(schema_errors(schema_text(draft, schema))) == [
        "/json_schema/additionalProperties/$ref",
        "/json_schema/anyOf/1/not/$ref",
        "/json_schema/definitions/unused/$ref",
        "/json_schema/items/$ref",
        "/json_schema/patternProperties/^x/$ref",
        "/json_schema/properties/$ref/$ref",
        "/json_schema/properties/enum/oneOf/0/$ref",
    ]
    assert paths(schema_errors(schema_text(draft, outside))) == ["/json_schema/$ref"]


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_reference_that_leads_nowhere_is_refused(draft: str) -> None:
    schema = {
        "title": "abc",
        "type": ["object"],
        "required": ["x"],
        "definitions": {"a": {"type": "string"}},
        "allOf": [{"title": "a"}],
        "properties": {f"x{index:02}": {"$ref": reference} for index, reference in enumerate(NOWHERE)},
    }

    field_errors = schema_errors(schema_text(draft, schema))

    assert paths(field_errors) == [f"/json_schema/properties/x{index:02}/$ref" for index in range(len(NOWHERE))]


@pytest.mark.parametrize(
    ("draft", "pointers", "schema"),
    [
        (
            DRAFT_4,
            ["additionalItems", "dependencies/b", "items/1"],
            {
                "items": [{}, {"$ref": "http://x"}],
                "additionalItems": {"$ref": "http://x"},
                "dependencies": {"a": ["x"], "b": {"$ref": "http://x"}, "c": ["x"]},
            },
        ),
        (
            DRAFT_6,
            ["contains", "propertyNames"],
            {"contains": {"$ref": "http://x"}, "propertyNames": {"$ref": "http://x"}},
        ),
        (
            DRAFT_7,
            ["else", "if", "then"],
            {"if": {"$ref": "http://x"}, "then": {"$ref": "http://x"}, "else": {"$ref": "http://x"}},
        ),
        (
            DRAFT_2019,
            ["$defs/a", "contentSchema", "dependentSchemas/a", "unevaluatedItems", "unevaluatedProperties"],
            {
                "$defs": {"a": {"$ref": "http://x"}},
                "contentSchema": {"$ref": "http://x"},
                "dependentSchemas": {"a": {"$ref": "http://x"}},
                "unevaluatedItems": {"$ref": "http://x"},
                "unevaluatedProperties": {"$ref": "http://x"},
            },
        ),
        (DRAFT_2020, ["prefixItems/0"], {"prefixItems": [{"$ref": "http://x"}]}),
    ],
)
def test_a_reference_is_found_in_the_keywords_that_a_draft_added(
    draft: str, pointers: list[str], schema: dict[str, Any]
) -> None:
    assert paths(schema_errors(schema_text(draft, schema))) == [f"/json_schema/{path}/$ref" for path in pointers]


@pytest.mark.parametrize(
    ("draft", "schema"),
    [
        (
            DRAFT_4,
            {"contains": {"$ref": "http://x"}, "const": {"$ref": "http://x"}, "propertyNames": {"$ref": "http://x"}},
        ),
        (DRAFT_6, {"if": {"$ref": "http://x"}, "then": {"$ref": "http://x"}}),
        (
            DRAFT_7,
            {
                "$defs": {"a": {"$ref": "http://x"}},
                "prefixItems": [{"$ref": "http://x"}],
                "$dynamicRef": "http://x",
                "$recursiveRef": "http://x",
            },
        ),
        (DRAFT_2019, {"$dynamicRef": "http://x", "prefixItems": [{"$ref": "http://x"}]}),
        (DRAFT_2020, {"$recursiveRef": "#", "additionalItems": {"$ref": "http://x"}}),
    ],
)
def test_a_keyword_of_another_draft_is_an_annotation(draft: str, schema: dict[str, Any]) -> None:
    check(schema_text(draft, schema))


@pytest.mark.parametrize(
    ("draft", "keyword", "references"),
    [
        (DRAFT_4, "$ref", [5, {}]),
        (DRAFT_2019, "$recursiveRef", ["http://example.com/x", "#/properties", None]),
        (
            DRAFT_2020,
            "$dynamicRef",
            ["http://example.com/x#a", "#nowhere", "https://json-schema.org/draft/2020-12/schema#meta", 5],
        ),
        (DRAFT_2020, "$ref", [["#"], "http://["]),
    ],
)
def test_a_dynamic_reference_and_a_value_that_is_no_address_are_refused_too(
    draft: str, keyword: str, references: list[Any]
) -> None:
    for reference in references:
        field_errors = schema_errors(schema_text(draft, {"items": {keyword: reference}}))

        assert set(paths(field_errors)) == {f"/json_schema/items/{keyword}"}, reference


@pytest.mark.parametrize("draft", DRAFTS)
def test_an_object_that_only_looks_like_a_reference_is_data(draft: str) -> None:
    schema = {
        "enum": [{"$ref": "http://x"}],
        "default": {"$ref": "http://x", "$id": 5},
        "examples": [{"$ref": "#/nowhere"}],
        "unknown": {"$ref": "http://x"},
        "x-any": [{"$ref": "#/nowhere"}],
        "required": ["$ref"],
        "definitions": {"$ref": {"type": "string"}},
        "properties": {
            "$ref": {"type": "string"},
            "$dynamicRef": {},
            "id": {"type": "string"},
            "$id": {},
            "a": {"default": "$ref", "title": "$ref: http://x"},
        },
    }

    check(schema_text(draft, schema))


def test_a_reference_in_const_is_data_too() -> None:
    schema = schema_text(DRAFT_6, {"const": {"$schema": DRAFT_6, "$ref": "http://x"}})

    assert value_errors(schema, {"$schema": DRAFT_6, "$ref": "http://x"}) == []


INSIDE: list[tuple[list[str], dict[str, Any], Any, Any]] = [
    (DRAFTS, {"definitions": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/definitions/a"}}}, "a", 1),
    (DRAFTS, {"properties": {"x": {"$ref": "#/properties/y"}, "y": {"type": "string"}}}, "a", 1),
    (
        DRAFTS,
        {"definitions": {"a/b ~c%": {"type": "string"}}, "properties": {"x": {"$ref": "#/definitions/a~1b%20~0c%25"}}},
        "a",
        1,
    ),
    (
        DRAFTS,
        {"definitions": {"List<A B>": {"type": "string"}}, "properties": {"x": {"$ref": "#/definitions/List<A B>"}}},
        "a",
        1,
    ),
    (
        DRAFTS,
        {"components": {"schemas": {"a": {"type": "string"}}}, "properties": {"x": {"$ref": "#/components/schemas/a"}}},
        "a",
        1,
    ),
    (DRAFTS, {"allOf": [{}, {"type": "object"}], "properties": {"x": {"$ref": "#/allOf/1"}}}, {}, 1),
    (DRAFTS, {"enum": [{"type": "string"}, {"x": "a"}, {"x": 1}], "properties": {"x": {"$ref": "#/enum/0"}}}, "a", 1),
    (DRAFTS, {"type": "object", "properties": {"x": {"$ref": "#"}}}, {"x": {}}, {"x": 1}),
    (
        DRAFTS[1:],
        {"definitions": {"no": False}, "properties": {"x": {"properties": {"y": {"$ref": "#/definitions/no"}}}}},
        {},
        {"y": 1},
    ),
    ([DRAFT_4], {"definitions": {"a": {"id": "#a", "type": "string"}}, "properties": {"x": {"$ref": "#a"}}}, "a", 1),
    (
        [DRAFT_4],
        {
            "id": "http://e.com/r.json",
            "definitions": {"a": {"id": "a.json", "type": "string"}},
            "properties": {"x": {"$ref": "a.json"}},
        },
        "a",
        1,
    ),
    (
        [DRAFT_6, DRAFT_7],
        {"definitions": {"a": {"$id": "#a", "type": "string"}}, "properties": {"x": {"$ref": "#a"}}},
        "a",
        1,
    ),
    (
        DRAFTS[1:],
        {
            "definitions": {"a": {"$id": "http://e.com/a", "type": "string"}},
            "properties": {"x": {"$ref": "http://e.com/a"}},
        },
        "a",
        1,
    ),
    (
        DRAFTS[1:],
        {
            "$id": "http://e.com/d/r.json",
            "definitions": {"a": {"$id": "a.json", "type": "string"}},
            "properties": {"x": {"$ref": "a.json#"}},
        },
        "a",
        1,
    ),
    (
        DRAFTS[1:],
        {
            "$id": "http://e.com/d/r.json",
            "definitions": {"a": {"type": "string"}},
            "properties": {"x": {"$ref": "http://e.com/d/r.json#/definitions/a"}},
        },
        "a",
        1,
    ),
    (
        DRAFTS[1:],
        {
            "$id": "d/r.json",
            "definitions": {"a": {"$id": "a.json", "type": "string"}},
            "properties": {"x": {"$ref": "a.json"}},
        },
        "a",
        1,
    ),
    (
        DRAFTS[1:],
        {
            "$id": "urn:uuid:1",
            "definitions": {"a": {"type": "string"}},
            "properties": {"x": {"$ref": "urn:uuid:1#/definitions/a"}},
        },
        "a",
        1,
    ),
    (
        DRAFTS[1:],
        {
            "$id": "http://e.com/r",
            "definitions": {"a": {"$id": "d/", "definitions": {"b": {"$id": "b", "type": "string"}}}},
            "properties": {"x": {"$ref": "http://e.com/d/b"}},
        },
        "a",
        1,
    ),
    (
        DRAFTS[1:],
        {
            "definitions": {
                "a": {
                    "$id": "a",
                    "properties": {"y": {"$ref": "#/definitions/b"}},
                    "definitions": {"b": {"type": "string"}},
                }
            },
            "properties": {"x": {"$ref": "a"}},
        },
        {"y": "a"},
        {"y": 1},
    ),
    (
        NEW_DRAFTS,
        {"$id": "d/r.json", "$defs": {"a": {"$anchor": "a", "type": "string"}}, "properties": {"x": {"$ref": "#a"}}},
        "a",
        1,
    ),
    (
        NEW_DRAFTS,
        {"$defs": {"a": {"$anchor": "a", "type": "string"}}, "properties": {"x": {"$ref": "#a", "maxLength": 1}}},
        "a",
        "aa",
    ),
    (
        [DRAFT_2020],
        {"$defs": {"a": {"$dynamicAnchor": "a", "type": "string"}}, "properties": {"x": {"$ref": "#a"}}},
        "a",
        1,
    ),
    (
        [DRAFT_2020],
        {"$defs": {"a": {"$dynamicAnchor": "a", "type": "string"}}, "properties": {"x": {"$dynamicRef": "#a"}}},
        "a",
        1,
    ),
    (
        [DRAFT_2020],
        {"$dynamicAnchor": "n", "type": "object", "properties": {"x": {"$dynamicRef": "#n"}}},
        {"x": {}},
        {"x": 1},
    ),
    (
        [DRAFT_2019],
        {"$recursiveAnchor": True, "type": "object", "properties": {"x": {"$recursiveRef": "#"}}},
        {"x": {}},
        {"x": 1},
    ),
    ([DRAFT_2020], {"$ref": "#/$defs/root", "$defs": {"root": {"properties": {"x": {"type": "string"}}}}}, "a", 1),
    (
        OLD_DRAFTS,
        {"$ref": "#/definitions/root", "definitions": {"root": {"properties": {"x": {"type": "string"}}}}},
        "a",
        1,
    ),
]


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_reference_within_the_document_works(draft: str) -> None:
    cases = [case for case in INSIDE if draft in case[0]]

    assert len(cases) > 8
    for _, schema, good, bad in cases:
        assert value_errors(schema_text(draft, schema), {"x": good}) == [], schema
        assert value_errors(schema_text(draft, schema), {"x": bad}), schema


# Dynamic references: the schema of a tree, and an outer schema that adds a property to each node of the tree.

DYNAMIC = pytest.mark.parametrize(
    ("draft", "anchor", "reference"),
    [
        (DRAFT_2019, {"$recursiveAnchor": True}, {"$recursiveRef": "#"}),
        (DRAFT_2020, {"$dynamicAnchor": "node"}, {"$dynamicRef": "#node"}),
    ],
    ids=["2019", "2020"],
)
Keywords = dict[str, Any]


def open_tree(anchor: Keywords, reference: Keywords) -> Keywords:
    return {"$id": "tree", **anchor, "type": "object", "properties": {"children": {"items": reference}}}


@DYNAMIC
@pytest.mark.parametrize("address", [{"$id": "http://e.com/strict"}, {}], ids=["named", "nameless"])
def test_the_outermost_dynamic_anchor_counts(
    draft: str, anchor: Keywords, reference: Keywords, address: Keywords
) -> None:
    """This also holds if it is in a document without `$id`, which the library ignores."""
    schema = {
        **address,
        **anchor,
        "properties": {"tree": {"$ref": "tree"}, "data": True},
        "additionalProperties": False,
        "$defs": {"tree": open_tree(anchor, reference)},
    }

    assert value_errors(schema_text(draft, schema), {"tree": {"children": [{"data": 1}]}}) == []
    assert value_errors(schema_text(draft, schema), {"tree": {"children": [{"daat": 1}]}})


@DYNAMIC
def test_a_schema_around_another_one_is_in_its_dynamic_scope(draft: str, anchor: Keywords, reference: Keywords) -> None:
    """The tree is a subschema that no reference leads to. The library leaves the outer schema out of the scope."""
    schema = {
        "$id": "http://e.com/strict",
        **anchor,
        "properties": {"tree": open_tree(anchor, reference), "data": True},
        "additionalProperties": False,
    }

    assert value_errors(schema_text(draft, schema), {"tree": {"children": [{"data": 1}]}}) == []
    assert value_errors(schema_text(draft, schema), {"tree": {"children": [{"daat": 1}]}})


@DYNAMIC
def test_a_document_without_the_anchor_may_be_in_between(draft: str, anchor: Keywords, reference: Keywords) -> None:
    schema = {
        "$id": "http://e.com/strict",
        **anchor,
        "properties": {"forest": {"$ref": "forest"}, "data": True},
        "additionalProperties": False,
        "$defs": {
            "forest": {"$id": "forest", "properties": {"tree": {"$ref": "tree"}}},
            "tree": open_tree(anchor, reference),
        },
    }

    assert value_errors(schema_text(draft, schema), {"forest": {"tree": {"children": [{"data": 1}]}}}) == []
    assert value_errors(schema_text(draft, schema), {"forest": {"tree": {"children": [{"daat": 1}]}}})


def test_without_a_recursive_anchor_the_reference_stays_in_its_document() -> None:
    tree = open_tree({}, {"$recursiveRef": "#"})
    schema = {
        "$recursiveAnchor": True,
        "$ref": "tree",
        "properties": {"children": True},
        "additionalProperties": False,
        "$defs": {"tree": tree},
    }

    assert value_errors(schema_text(DRAFT_2019, schema), {"children": [{"data": 1}]}) == []
    assert value_errors(schema_text(DRAFT_2019, schema), {"children": [1]})


TWO_DOCUMENTS = {
    "$id": "http://e.com/outer",
    "$ref": "inner",
    "$defs": {
        "name": {"type": "string"},
        "outer": {"$dynamicAnchor": "a", "$ref": "#/$defs/name"},
        "inner": {
            "$id": "inner",
            "properties": {"plain": {"$ref": "#a"}, "dynamic": {"$dynamicRef": "#a"}},
            "$defs": {"name": {"type": "null"}, "inner": {"$dynamicAnchor": "a", "type": "integer"}},
        },
    },
}


def test_a_plain_reference_to_a_dynamic_anchor_stays_in_its_document() -> None:
    assert value_errors(TWO_DOCUMENTS, {"plain": 1}) == []
    assert value_errors(TWO_DOCUMENTS, {"plain": "a"})


def test_the_target_of_a_dynamic_reference_resolves_its_references_in_its_own_document() -> None:
    assert value_errors(TWO_DOCUMENTS, {"dynamic": "a"}) == []
    assert value_errors(TWO_DOCUMENTS, {"dynamic": None})


def test_a_dynamic_reference_to_a_plain_anchor_stays_in_its_document() -> None:
    inner = {
        "$id": "inner",
        "properties": {"x": {"$dynamicRef": "#a"}},
        "$defs": {"a": {"$anchor": "a", "type": "null"}},
    }
    schema = {"$id": "http://e.com/outer", "$ref": "inner", "$defs": {"i": inner, "o": {"$dynamicAnchor": "a"}}}

    assert value_errors(schema, {"x": None}) == []
    assert value_errors(schema, {"x": 1})


@pytest.mark.parametrize("draft", OLD_DRAFTS)
def test_an_id_beside_a_reference_is_ignored_in_early_drafts(draft: str) -> None:
    keyword = "id" if draft == DRAFT_4 else "$id"
    schema = {
        keyword: "http://e.com/root",
        "definitions": {"a": {"type": "string"}},
        "properties": {"x": {keyword: "http://e.com/other/", "$ref": "#/definitions/a"}},
    }

    assert value_errors(schema_text(draft, schema), {"x": "a"}) == []
    assert value_errors(schema_text(draft, schema), {"x": 1})


@pytest.mark.parametrize("draft", [DRAFT_7, *NEW_DRAFTS])
def test_references_in_a_condition_with_its_own_id_are_resolved_there(draft: str) -> None:
    """The library resolves them in the outer document, where it does not find them."""
    part = {
        "$id": "http://e.com/part",
        "allOf": [{"$ref": "#/definitions/short"}],
        "definitions": {"short": {"type": "string", "maxLength": 1}},
    }

    for schema, good, bad in (
        ({"not": part}, "ab", "a"),
        ({"if": part, "then": False}, "ab", "a"),
        ({"contains": part}, ["ab", "a"], ["ab"]),
    ):
        assert is_valid(schema, good, draft), schema
        assert not is_valid(schema, bad, draft), schema


# The target of a reference, and the keywords beside it


@pytest.mark.parametrize("draft", DRAFTS)
def test_an_object_that_a_reference_leads_to_is_a_schema_too(draft: str) -> None:
    schema = {
        "properties": {"x": {"$ref": "#/parts/a"}},
        "parts": {
            "a": {"items": {"$ref": "#/parts/b"}, "minLength": -1},
            "b": {"properties": {"y": {"$ref": "http://x"}, "z": {"pattern": "("}}},
            "c": {"$ref": "http://x", "minLength": -1},
        },
    }

    assert paths(schema_errors(schema_text(draft, schema))) == [
        "/json_schema/parts/a/minLength",
        "/json_schema/parts/b/properties/y/$ref",
        "/json_schema/parts/b/properties/z/pattern",
    ]


@pytest.mark.parametrize("draft", OLD_DRAFTS)
def test_the_keywords_beside_a_reference_are_ignored_in_early_drafts(draft: str) -> None:
    schema = {
        "definitions": {"a": {"type": "string"}},
        "properties": {"x": {"$ref": "#/definitions/a", "maxLength": 1, "not": {}, "items": {"$ref": "http://x"}}},
    }

    assert value_errors(schema_text(draft, schema), {"x": "abc"}) == []
    assert value_errors(schema_text(draft, schema), {"x": 1})


@pytest.mark.parametrize("draft", NEW_DRAFTS)
def test_the_keywords_beside_a_reference_count_in_later_drafts(draft: str) -> None:
    schema = {"$defs": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/a", "maxLength": 1}}}

    assert value_errors(schema_text(draft, schema), {"x": "abc"})
    assert schema_errors(schema_text(draft, {"$ref": "#/$defs/a", "$defs": {"a": {}}, "items": {"$ref": "http://x"}}))


# Circular references


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"anyOf": [{"type": "string"}, {"$ref": "#"}]},
        {"oneOf": [{"not": {"$ref": "#"}}]},
        {"properties": {"x": {"$ref": "#/properties/x"}}},
        {"definitions": {"a": {"$ref": "#/definitions/b"}, "b": {"allOf": [{"$ref": "#/definitions/a"}]}}},
        {"parts": {"a": {"$ref": "#/parts/b"}, "b": {"$ref": "#/parts/a"}}, "items": {"$ref": "#/parts/a"}},
    ],
)
def test_a_schema_that_only_refers_to_itself_is_refused(schema: dict[str, Any]) -> None:
    for draft in (DRAFT_4, DRAFT_2020):
        assert any("without end" in error.message for error in schema_errors(schema_text(draft, schema)))


@pytest.mark.parametrize(
    ("draft", "keyword", "schema"),
    [
        (DRAFT_4, "dependencies", {"a": {"$ref": "#"}}),
        (DRAFT_7, "if", {"$ref": "#"}),
        (DRAFT_7, "then", {"$ref": "#"}),
        (DRAFT_2019, "else", {"$ref": "#"}),
        (DRAFT_2020, "dependentSchemas", {"a": {"$ref": "#"}}),
    ],
)
def test_a_schema_that_refers_to_itself_under_a_condition_is_refused(
    draft: str, keyword: str, schema: dict[str, Any]
) -> None:
    assert any("without end" in error.message for error in schema_errors(schema_text(draft, {keyword: schema})))


@pytest.mark.parametrize(
    ("draft", "schema"),
    [
        (DRAFT_2020, {"$dynamicAnchor": "a", "$dynamicRef": "#a"}),
        (DRAFT_2020, {"$dynamicAnchor": "a", "unevaluatedProperties": False, "anyOf": [{"$dynamicRef": "#a"}]}),
        (DRAFT_2019, {"$recursiveAnchor": True, "not": {"$recursiveRef": "#"}}),
    ],
)
def test_a_schema_that_refers_to_itself_dynamically_refuses_all_values(draft: str, schema: dict[str, Any]) -> None:
    (error,) = value_errors(schema_text(draft, schema), '{"a": 1}')

    assert error.path == "/json_values"
    assert "without end" in error.message


def test_the_end_of_the_stack_is_reported_wherever_it_is_reached() -> None:
    """The library's maps are written in Rust, and they panic when the stack ends inside them."""
    schema = compiled(schema_text(DRAFT_2020, {"$dynamicAnchor": "a", "not": {"$dynamicRef": "#a"}}))

    def deeper(levels: int) -> bool:
        if levels:
            return deeper(levels - 1)
        (error,) = schema.field_errors("{}")
        return "without end" in error.message

    assert all(deeper(levels) for levels in range(20))


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_schema_may_be_recursive(draft: str) -> None:
    node = {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"next": {"$ref": "#/definitions/node"}}}]}
    schema = schema_text(draft, {"definitions": {"node": node}, "properties": {"x": {"$ref": "#/definitions/node"}}})

    assert value_errors(schema, {"x": {"next": {"next": {"next": None}}}}) == []
    assert value_errors(schema, {"x": {"next": {"next": {"next": 1}}}})


def test_nothing_is_ever_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/schema"

        assert paths(schema_errors({"$ref": address, "items": {"$dynamicRef": address}})) == [
            "/json_schema/$ref",
            "/json_schema/items/$dynamicRef",
        ]
        assert compiled(json.dumps({"$ref": address})).field_errors("{}")  # a schema that was stored without the check
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_long_chain_of_references_is_walked() -> None:
    chain = {f"a{number}": {"$ref": f"#/$defs/a{number + 1}"} for number in range(2000)}

    check(json.dumps({"$defs": {**chain, "a2000": {}}, "$ref": "#/$defs/a0"}))


def test_a_deep_schema_is_walked() -> None:
    schema: dict[str, Any] = {"$ref": "http://x"}
    for _ in range(20):
        schema = {"properties": {"x": schema}}

    assert paths(schema_errors(schema)) == ["/json_schema" + "/properties/x" * 20 + "/$ref"]
