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
    faults,
    of,
    paths,
    refused,
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
PLACES: list[tuple[str, Any]] = [
    ("", lambda reference: reference),
    ("/properties/x", lambda reference: {"properties": {"x": reference}}),
    ("/patternProperties/^x", lambda reference: {"patternProperties": {"^x": reference}}),
    ("/additionalProperties", lambda reference: {"additionalProperties": reference}),
    ("/items", lambda reference: {"items": reference}),
    ("/anyOf/1/not", lambda reference: {"anyOf": [{}, {"not": reference}]}),
    ("/definitions/unused", lambda reference: {"definitions": {"a": {}, "unused": reference}}),
    ("/properties/$ref", lambda reference: {"properties": {"$ref": reference}}),
    ("/properties/enum/oneOf/0", lambda reference: {"properties": {"enum": {"oneOf": [reference]}}}),
]


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize(("at", "placed"), PLACES)
@pytest.mark.parametrize("reference", OUTSIDE)
def test_a_reference_that_leaves_the_document_is_refused(draft: str, at: str, placed: Any, reference: str) -> None:
    (fault,) = refused(of(draft, {"title": "abc", **placed({"$ref": reference})}))

    assert fault.path == f"/json_schema{at}/$ref"
    assert "leaves the document" in fault.message


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("reference", NOWHERE)
def test_a_reference_that_leads_nowhere_is_refused(draft: str, reference: str) -> None:
    schema = {
        "title": "abc",
        "type": ["object"],
        "required": ["x"],
        "definitions": {"a": {"type": "string"}},
        "allOf": [{"title": "a"}],
        "properties": {"x": {"$ref": reference}},
    }

    assert paths(refused(of(draft, schema))) == ["/json_schema/properties/x/$ref"]


@pytest.mark.parametrize(
    ("draft", "keyword", "where"),
    [
        (DRAFT_7, "if", {"if": {"$ref": "http://x"}}),
        (DRAFT_7, "then", {"then": {"$ref": "http://x"}}),
        (DRAFT_7, "else", {"else": {"$ref": "http://x"}}),
        (DRAFT_6, "contains", {"contains": {"$ref": "http://x"}}),
        (DRAFT_6, "propertyNames", {"propertyNames": {"$ref": "http://x"}}),
        (DRAFT_4, "dependencies/b", {"dependencies": {"a": ["x"], "b": {"$ref": "http://x"}}}),
        (DRAFT_4, "dependencies/a", {"dependencies": {"a": {"$ref": "http://x"}, "b": ["x"]}}),
        (DRAFT_4, "items/1", {"items": [{}, {"$ref": "http://x"}]}),
        (DRAFT_4, "additionalItems", {"items": [{}], "additionalItems": {"$ref": "http://x"}}),
        (DRAFT_2019, "$defs/a", {"$defs": {"a": {"$ref": "http://x"}}}),
        (DRAFT_2019, "unevaluatedItems", {"unevaluatedItems": {"$ref": "http://x"}}),
        (DRAFT_2019, "dependentSchemas/a", {"dependentSchemas": {"a": {"$ref": "http://x"}}}),
        (DRAFT_2020, "prefixItems/0", {"prefixItems": [{"$ref": "http://x"}]}),
        (DRAFT_2020, "unevaluatedProperties", {"unevaluatedProperties": {"$ref": "http://x"}}),
        (DRAFT_2020, "contentSchema", {"contentSchema": {"$ref": "http://x"}}),
    ],
)
def test_a_reference_is_found_wherever_its_draft_has_a_schema(draft: str, keyword: str, where: dict[str, Any]) -> None:
    assert paths(refused(of(draft, where))) == [f"/json_schema/{keyword}/$ref"]


@pytest.mark.parametrize(
    ("draft", "where"),
    [
        (
            DRAFT_4,
            {"contains": {"$ref": "http://x"}, "const": {"$ref": "http://x"}, "propertyNames": {"$ref": "http://x"}},
        ),
        (DRAFT_6, {"if": {"$ref": "http://x"}, "then": {"$ref": "http://x"}}),
        (DRAFT_7, {"$defs": {"a": {"$ref": "http://x"}}, "prefixItems": [{"$ref": "http://x"}]}),
        (DRAFT_7, {"$dynamicRef": "http://x", "$recursiveRef": "http://x"}),
        (DRAFT_2019, {"$dynamicRef": "http://x", "prefixItems": [{"$ref": "http://x"}]}),
        (DRAFT_2020, {"$recursiveRef": "#", "additionalItems": {"$ref": "http://x"}}),
    ],
)
def test_a_keyword_of_another_draft_is_a_note(draft: str, where: dict[str, Any]) -> None:
    check(of(draft, where))


@pytest.mark.parametrize(
    ("draft", "keyword", "reference"),
    [
        (DRAFT_2020, "$dynamicRef", "http://example.com/x#a"),
        (DRAFT_2020, "$dynamicRef", "#nowhere"),
        (DRAFT_2020, "$dynamicRef", "https://json-schema.org/draft/2020-12/schema#meta"),
        (DRAFT_2019, "$recursiveRef", "http://example.com/x"),
        (DRAFT_2019, "$recursiveRef", "#/properties"),
        (DRAFT_2020, "$dynamicRef", 5),
        (DRAFT_2019, "$recursiveRef", None),
        (DRAFT_4, "$ref", 5),
        (DRAFT_7, "$ref", {}),
        (DRAFT_2020, "$ref", ["#"]),
        (DRAFT_2020, "$ref", "http://["),
    ],
)
def test_so_is_a_dynamic_one_and_one_that_is_no_address(draft: str, keyword: str, reference: Any) -> None:
    assert set(paths(refused(of(draft, {"items": {keyword: reference}})))) == {f"/json_schema/items/{keyword}"}


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize(
    "data",
    [
        {"enum": [{"$ref": "http://x"}]},
        {"default": {"$ref": "http://x", "$id": 5}},
        {"examples": [{"$ref": "#/nowhere"}]},
        {"properties": {"$ref": {"type": "string"}, "$dynamicRef": {}, "id": {"type": "string"}, "$id": {}}},
        {"unknown": {"$ref": "http://x"}, "x-any": [{"$ref": "#/nowhere"}]},
        {"properties": {"a": {"default": "$ref", "title": "$ref: http://x"}}},
        {"required": ["$ref"]},
        {"definitions": {"$ref": {"type": "string"}}},
    ],
)
def test_what_merely_looks_like_a_reference_is_data(draft: str, data: dict[str, Any]) -> None:
    check(of(draft, data))


def test_so_it_is_in_const() -> None:
    assert faults(of(DRAFT_6, {"const": {"$ref": "http://x"}}), {"$ref": "http://x"}) == []


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


@pytest.mark.parametrize(
    ("draft", "schema", "good", "bad"),
    [(draft, schema, good, bad) for drafts, schema, good, bad in INSIDE for draft in drafts],
)
def test_a_reference_within_the_document_works(draft: str, schema: dict[str, Any], good: Any, bad: Any) -> None:
    assert faults(of(draft, schema), {"x": good}) == []
    assert faults(of(draft, schema), {"x": bad})


def test_the_outermost_dynamic_anchor_counts() -> None:
    schema = {
        "$id": "http://e.com/strict",
        "$dynamicAnchor": "node",
        "$ref": "tree",
        "unevaluatedProperties": False,
        "$defs": {
            "tree": {
                "$id": "tree",
                "$dynamicAnchor": "node",
                "properties": {"data": True, "children": {"items": {"$dynamicRef": "#node"}}},
            }
        },
    }

    assert faults(schema, {"children": [{"data": 1}]}) == []
    assert faults(schema, {"children": [{"daat": 1}]})


@pytest.mark.parametrize("draft", DRAFTS)
def test_what_a_reference_leads_to_is_a_schema_too(draft: str) -> None:
    schema = {
        "properties": {"x": {"$ref": "#/parts/a"}},
        "parts": {
            "a": {"items": {"$ref": "#/parts/b"}, "minLength": -1},
            "b": {"properties": {"y": {"$ref": "http://x"}, "z": {"pattern": "("}}},
            "c": {"$ref": "http://x", "minLength": -1},
        },
    }

    assert paths(refused(of(draft, schema))) == [
        "/json_schema/parts/a/minLength",
        "/json_schema/parts/b/properties/y/$ref",
        "/json_schema/parts/b/properties/z/pattern",
    ]


@pytest.mark.parametrize("draft", OLD_DRAFTS)
def test_what_stands_beside_a_reference_is_ignored_in_early_drafts(draft: str) -> None:
    schema = {
        "definitions": {"a": {"type": "string"}},
        "properties": {"x": {"$ref": "#/definitions/a", "maxLength": 1, "not": {}, "items": {"$ref": "http://x"}}},
    }

    assert faults(of(draft, schema), {"x": "abc"}) == []
    assert faults(of(draft, schema), {"x": 1})


@pytest.mark.parametrize("draft", NEW_DRAFTS)
def test_what_stands_beside_a_reference_counts_in_later_drafts(draft: str) -> None:
    schema = {"$defs": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/a", "maxLength": 1}}}

    assert faults(of(draft, schema), {"x": "abc"})
    assert refused(of(draft, {"$ref": "#/$defs/a", "$defs": {"a": {}}, "items": {"$ref": "http://x"}}))


@pytest.mark.parametrize("draft", DRAFTS)
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
def test_a_schema_that_only_refers_to_itself_is_refused(draft: str, schema: dict[str, Any]) -> None:
    assert any("without end" in fault.message for fault in refused(of(draft, schema)))


@pytest.mark.parametrize(
    ("draft", "schema"),
    [
        (DRAFT_2020, {"$dynamicAnchor": "a", "$dynamicRef": "#a"}),
        (DRAFT_2020, {"$dynamicAnchor": "a", "unevaluatedProperties": False, "anyOf": [{"$dynamicRef": "#a"}]}),
        (DRAFT_2019, {"$recursiveAnchor": True, "$recursiveRef": "#"}),
        (DRAFT_2019, {"$recursiveAnchor": True, "not": {"$recursiveRef": "#"}}),
    ],
)
def test_one_that_does_so_dynamically_refuses_all_values(draft: str, schema: dict[str, Any]) -> None:
    check(of(draft, schema))

    (fault,) = compiled(of(draft, schema)).faults('{"a": 1}')

    assert fault.path == "/json_values"
    assert "without end" in fault.message


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_schema_may_be_recursive(draft: str) -> None:
    node = {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"next": {"$ref": "#/definitions/node"}}}]}
    schema = of(draft, {"definitions": {"node": node}, "properties": {"x": {"$ref": "#/definitions/node"}}})

    assert faults(schema, {"x": {"next": {"next": {"next": None}}}}) == []
    assert faults(schema, {"x": {"next": {"next": {"next": 1}}}})


def test_nothing_is_ever_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/schema"

        assert paths(refused({"$ref": address, "items": {"$dynamicRef": address}})) == [
            "/json_schema/$ref",
            "/json_schema/items/$dynamicRef",
        ]
        assert compiled(json.dumps({"$ref": address})).faults("{}")  # had it come into the database otherwise
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_long_chain_of_references_is_walked() -> None:
    chain = {f"a{number}": {"$ref": f"#/$defs/a{number + 1}"} for number in range(2000)}

    check(json.dumps({"$defs": {**chain, "a2000": {}}, "$ref": "#/$defs/a0"}))


def test_a_deep_schema_is_walked() -> None:
    schema: dict[str, Any] = {"$ref": "http://x"}
    for _ in range(20):
        schema = {"properties": {"x": schema}}

    assert paths(refused(schema)) == ["/json_schema" + "/properties/x" * 20 + "/$ref"]
