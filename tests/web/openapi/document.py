"""Reads the OpenAPI document: its operations, schemas and examples."""

from collections.abc import Iterator
from typing import Any

METHODS = {"get", "post", "patch", "put", "delete"}
Operation = tuple[str, str, dict[str, Any]]


def operations(document: dict[str, Any], under: str = "/api/") -> Iterator[Operation]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS and path.startswith(under):
                yield method, path, operation


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = target_of(document, schema["$ref"])
    return schema


def target_of(document: dict[str, Any], reference: str) -> Any:
    assert reference.startswith("#/"), f"{reference} leaves the document"
    place: Any = document
    for part in reference[2:].split("/"):
        place = place[part.replace("~1", "/").replace("~0", "~")]
    return place


def objects_in(value: Any, at: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every JSON object in a value, with its JSON pointer."""
    if isinstance(value, dict):
        yield at, value
        for name, member in value.items():
            yield from objects_in(member, f"{at}/{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from objects_in(item, f"{at}/{index}")


def body_schema(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The schema of a request body. If the body may be left out, this is the schema of a body that is sent."""
    schema = resolved(document, operation["requestBody"]["content"]["application/json"]["schema"])
    for part in schema.get("anyOf", []):
        if part != {"type": "null"}:
            return resolved(document, part)
    return schema


def success(operation: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return next((status, answer) for status, answer in operation["responses"].items() if status.startswith("2"))


def example_of(document: dict[str, Any], operation: dict[str, Any]) -> Any:
    """The example of a request body: that of the media type, or else that of the schema, as Swagger UI chooses."""
    media = operation["requestBody"]["content"]["application/json"]
    return media.get("example", body_schema(document, operation).get("example"))


def answer_example(document: dict[str, Any], operation: dict[str, Any]) -> Any:
    """The example of an answer: that of the media type, or else that of the schema, as Swagger UI chooses."""
    media = success(operation)[1]["content"]["application/json"]
    if "example" in media:
        return media["example"]
    if media["schema"].get("type") == "array":
        return [resolved(document, media["schema"]["items"])["example"]]
    return resolved(document, media["schema"])["example"]


def example_query(operation: dict[str, Any]) -> dict[str, str]:
    """The query parameters that Swagger UI fills in."""
    return {
        parameter["name"]: parameter["example"]
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query" and "example" in parameter
    }


def undocumented(document: dict[str, Any], schema: dict[str, Any], answer: Any) -> Iterator[str]:
    """The names of the members of an answer that its schema does not have."""
    schema = resolved(document, schema)
    if isinstance(answer, list) and "items" in schema:
        for item in answer:
            yield from undocumented(document, schema["items"], item)
    elif isinstance(answer, dict) and "properties" in schema:
        yield from answer.keys() - schema["properties"].keys()
        for name, member in answer.items():
            yield from undocumented(document, schema["properties"].get(name, {}), member)
