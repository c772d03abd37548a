"""The OpenAPI document is valid, describes everything, and lists every refusal."""

import json
import re
from typing import Any

from jsonschema import Draft202012Validator

from tests.web.openapi.document import (
    objects_in,
    operations,
    resolved,
    target_of,
)


def test_the_token_is_asked_for_by_every_operation_of_the_api(document: dict[str, Any]) -> None:
    scheme = document["components"]["securitySchemes"]["Log10Token"]

    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-Log10-Token")
    for method, path, operation in operations(document):
        assert operation["security"] == [{"Log10Token": []}], f"{method} {path}"


def test_the_organization_may_be_named_in_the_header_of_every_operation(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        headers = [item for item in operation["parameters"] if item["name"] == "X-Log10-Organization"]

        assert [(item["in"], item.get("required", False)) for item in headers] == [("header", False)], (
            f"{method} {path}"
        )


def test_every_refusal_is_a_problem(document: dict[str, Any]) -> None:
    wrong = [
        f"{method} {path} {status}"
        for method, path, operation in operations(document, "/")
        for status, answer in operation["responses"].items()
        if not status.startswith("2")
        and (
            answer["content"].keys() != {"application/problem+json"}
            or answer["content"]["application/problem+json"]["schema"] != {"$ref": "#/components/schemas/Problem"}
        )
    ]

    assert wrong == []


def test_every_example_of_a_refusal_has_the_status_and_the_code_that_it_stands_for(document: dict[str, Any]) -> None:
    """Swagger UI used to make up one example for all of them: status 0 and the code `not_json`."""
    schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    wrong = []

    for method, path, operation in operations(document, "/"):
        for status, answer in operation["responses"].items():
            if status.startswith("2"):
                continue
            examples = answer["content"]["application/problem+json"]["examples"]
            assert examples, f"{method} {path} {status}"
            wrong += [
                f"{method} {path} {status} {code}"
                for code, example in examples.items()
                if (example["value"]["status"], example["value"]["code"]) != (int(status), code)
                or example["summary"] != example["value"]["title"]
                or not Draft202012Validator(schema).is_valid(example["value"])
            ]

    assert wrong == []


def test_an_upload_of_feedback_shows_an_example_of_each_code(document: dict[str, Any]) -> None:
    responses = document["paths"]["/api/v1/feedback"]["post"]["responses"]

    assert set(responses["422"]["content"]["application/problem+json"]["examples"]) == {
        *("invalid", "values_refused", "validation_timeout", "unknown_task", "task_archived"),
        *("unknown_completion", "no_match", "too_many_matches"),
    }
    assert set(responses["409"]["content"]["application/problem+json"]["examples"]) == {"id_taken"}


def test_every_operation_lists_its_refusals(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        expected = {"401", "403", "500", "503"}
        expected |= {"404"} if "{" in path else set()
        expected |= {"400", "413", "415", "422"} if "requestBody" in operation else set()
        expected |= {"422"} if any(parameter["in"] == "query" for parameter in operation["parameters"]) else set()

        assert expected <= operation["responses"].keys(), f"{method} {path}"


def test_no_shape_of_another_program_is_left_in(document: dict[str, Any]) -> None:
    assert not {"HTTPValidationError", "ValidationError"} & document["components"]["schemas"].keys()


def test_every_reference_leads_somewhere_inside(document: dict[str, Any]) -> None:
    references = [part["$ref"] for _, part in objects_in(document) if isinstance(part.get("$ref"), str)]

    assert references
    for reference in references:
        assert isinstance(target_of(document, reference), dict)


def test_every_shape_is_used(document: dict[str, Any]) -> None:
    used = {part["$ref"].rpartition("/")[2] for _, part in objects_in(document) if isinstance(part.get("$ref"), str)}

    assert used == set(document["components"]["schemas"])


def test_the_document_is_an_openapi_3_1_document(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document, "/")]
    tags = [tag["name"] for tag in document["tags"]]

    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"]
    assert document["info"]["version"]
    assert len(set(ids)) == len(ids)
    assert len(set(tags)) == len(tags)
    for method, path, operation in operations(document, "/"):
        parameters = [parameter for parameter in operation.get("parameters", []) if parameter["in"] == "path"]
        names = [parameter["name"] for parameter in parameters]
        assert names == re.findall(r"\{(\w+)\}", path), f"{method} {path}"
        assert all(parameter["required"] for parameter in parameters)
        assert set(operation["tags"]) <= set(tags)
        assert all(answer["description"] for answer in operation["responses"].values())


def test_every_summary_is_a_sentence_of_its_own(document: dict[str, Any]) -> None:
    """It used to be the name of a function, such as "Get" or "List Tasks"."""
    summaries = [operation["summary"] for _, _, operation in operations(document, "/")]

    assert len(set(summaries)) == len(summaries)
    for method, path, operation in operations(document, "/"):
        assert re.fullmatch(r"[A-Z][^.]* [^.]*\S\.", operation["summary"]), f"{method} {path}: {operation['summary']}"
        assert operation.get("description", "More.")[0].isupper(), f"{method} {path}"


def test_every_schema_is_a_json_schema(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_everything_a_caller_meets_is_described(document: dict[str, Any]) -> None:
    undescribed = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, member in schema.get("properties", {}).items()
        if not member.get("description")
        and not ("$ref" in member and resolved(document, member).get("description"))
        and name not in {"HTTPValidationError", "ValidationError"}
    ]
    undescribed += [
        f"{method} {path} {parameter['name']}"
        for method, path, operation in operations(document)
        for parameter in operation.get("parameters", [])
        if not parameter.get("description")
    ]

    assert undescribed == []


def test_no_path_of_a_machine_is_in_the_document(document: dict[str, Any]) -> None:
    for word in ["/work/", "/home/", "site-packages", "sqlite://", "postgresql://"]:
        assert word not in json.dumps(document)
