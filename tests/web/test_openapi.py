"""The OpenAPI document: current, a superset of the published one, whole, and true of what the server answers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from log10_server.db.database import Database
from log10_server.settings import Settings
from log10_server.web.app import create_app
from tests.conftest import Api, Served, problem

# The published document, as of its edition with `organization_id` in answers: operationId, tag, success.
PUBLISHED = {
    ("post", "/api/v1/completions"): ("create", "Completions", "201"),
    ("post", "/api/v1/completions/{completionId}"): ("update", "Completions", "200"),
    ("get", "/api/v1/completions/ungraded"): ("listUngraded", "Completions", "200"),
    ("post", "/api/v1/sessions"): ("createSession", "Sessions", "201"),
    ("get", "/api/v1/feedback"): ("list", "Feedback", "200"),
    ("post", "/api/v1/feedback"): ("upload", "Feedback", "200"),
    ("get", "/api/v1/feedback/{feedbackId}"): ("get", "Feedback", "200"),
    ("get", "/api/v1/feedback_task"): ("listFeedbackTasks", "FeedbackTasks", "200"),
    ("post", "/api/v1/feedback_task"): ("createFeedbackTask", "FeedbackTasks", "200"),
    ("get", "/api/v1/feedback_task/{taskId}"): ("getFeedbackTask", "FeedbackTasks", "200"),
}

COMPLETION = [
    "id",
    "organization_id",
    "kind",
    "status",
    "tags",
    "request",
    "response",
    "stacktrace",
    "session_id",
    "duration",
    "failure_kind",
    "failure_reason",
]
TASK = ["id", "created_at_ms", "json_schema", "name", "instruction", "completion_tags_selector"]
FEEDBACK = ["id", "created_at_ms", "task_id", "json_values", "matched_completion_ids", "comment", "completions_summary"]

# What the server sends: fields of the answer of each operation, where the answer's list is named in front.
ANSWERED = {
    ("post", "/api/v1/completions"): ("", COMPLETION),
    ("post", "/api/v1/completions/{completionId}"): ("", COMPLETION),
    ("get", "/api/v1/completions/ungraded"): ("completions", COMPLETION),
    ("post", "/api/v1/sessions"): ("session", ["id"]),
    ("get", "/api/v1/feedback"): ("feedback", [*FEEDBACK, "organization_id"]),
    ("post", "/api/v1/feedback"): ("", [*FEEDBACK, "organization_id"]),
    ("get", "/api/v1/feedback/{feedbackId}"): ("", [*FEEDBACK, "organization_id"]),
    ("get", "/api/v1/feedback_task"): ("[]", [*TASK, "organization_id"]),
    ("post", "/api/v1/feedback_task"): ("", [*TASK, "organization_id"]),
    ("get", "/api/v1/feedback_task/{taskId}"): ("", [*TASK, "organization_id"]),
}

# What a client sends; `created_at_ms` and `completions_summary` are the server's.
SENT = {
    ("post", "/api/v1/completions"): COMPLETION,
    ("post", "/api/v1/completions/{completionId}"): COMPLETION,
    ("get", "/api/v1/feedback"): ["offset", "limit", "completion_id", "task_id"],
    ("post", "/api/v1/feedback"): [
        *(name for name in FEEDBACK if name not in {"created_at_ms", "completions_summary"}),
        *["allow_unmatched_feedback", "max_matched_completions", "completion_tags_selector", "completion_ids"],
    ],
    ("post", "/api/v1/feedback_task"): [name for name in TASK if name != "created_at_ms"],
}

KINDS = {
    ("Completion", "kind"): ["chat", "prompt"],
    ("CompletionUpload", "kind"): ["chat", "prompt"],
    ("Completion", "status"): ["started", "finished", "failed"],
    ("CompletionUpload", "status"): ["started", "finished", "failed"],
}

TAGS = {"Completions", "Sessions", "FeedbackTasks", "Feedback"}
# A decision on a proposal can be made once, and the example is no proposal.
DECISIONS = ("/accept", "/reject")
METHODS = {"get", "post", "patch", "put", "delete"}
Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return dict(create_app(Settings(), Database("sqlite:///never-opened.db")).openapi())


def operations(document: dict[str, Any], under: str = "/api/") -> Iterator[Operation]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS and path.startswith(under):
                yield method, path, operation


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = found(document, schema["$ref"])
    return schema


def found(document: dict[str, Any], ref: str) -> Any:
    assert ref.startswith("#/"), f"{ref} leaves the document"
    place: Any = document
    for part in ref[2:].split("/"):
        place = place[part.replace("~1", "/").replace("~0", "~")]
    return place


def walked(value: Any, at: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the document with its place."""
    if isinstance(value, dict):
        yield at, value
        for name, member in value.items():
            yield from walked(member, f"{at}/{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walked(item, f"{at}/{index}")


def body_schema(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The object that a body is; where it may be left out, what it is else."""
    schema = resolved(document, operation["requestBody"]["content"]["application/json"]["schema"])
    for part in schema.get("anyOf", []):
        if part != {"type": "null"}:
            return resolved(document, part)
    return schema


def success(operation: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return next((status, answer) for status, answer in operation["responses"].items() if status.startswith("2"))


# Current, and a superset


def test_the_written_document_is_current(document: dict[str, Any], checkout: Path) -> None:
    written = json.loads((checkout / "openapi" / "log10-server.json").read_text())

    assert written == document, "Stale: run `make openapi`."


def test_the_served_document_is_the_written_one(serving: Served, database: Database, document: dict[str, Any]) -> None:
    assert httpx.get(f"{serving.url}/openapi.json").json() == document


@pytest.mark.parametrize(("where", "said"), PUBLISHED.items())
def test_a_published_operation_is_there_by_its_names(
    document: dict[str, Any], where: tuple[str, str], said: tuple[str, str, str]
) -> None:
    method, path = where
    operation_id, tag, status = said

    operation = document["paths"][path][method]

    assert operation["operationId"] == operation_id
    assert operation["tags"] == [tag]
    assert status in operation["responses"]


@pytest.mark.parametrize(("where", "said"), ANSWERED.items())
def test_an_answer_has_every_published_field(
    document: dict[str, Any], where: tuple[str, str], said: tuple[str, list[str]]
) -> None:
    method, path = where
    inside, fields = said
    _, answer = success(document["paths"][path][method])
    schema = resolved(document, answer["content"]["application/json"]["schema"])

    if inside == "[]":
        schema = resolved(document, schema["items"])
    elif inside:
        schema = resolved(document, schema["properties"][inside])
        schema = resolved(document, schema.get("items", schema))

    assert set(fields) <= schema["properties"].keys()


@pytest.mark.parametrize(("where", "fields"), SENT.items())
def test_a_body_takes_every_published_field(
    document: dict[str, Any], where: tuple[str, str], fields: list[str]
) -> None:
    method, path = where

    schema = body_schema(document, document["paths"][path][method])

    assert set(fields) <= schema["properties"].keys()


def test_what_the_published_document_leaves_out_may_be_left_out(document: dict[str, Any]) -> None:
    required = {name: set(schema.get("required", [])) for name, schema in document["components"]["schemas"].items()}

    assert required["CompletionUpload"] == set()
    assert required["TaskUpload"] <= {"name", "instruction", "json_schema", "completion_tags_selector"}
    assert required["FeedbackUpload"] <= {"task_id", "json_values"}
    assert required["FeedbackQueryBody"] == set()


@pytest.mark.parametrize("name", ["offset", "limit", "completion_id", "task_id"])
def test_feedback_is_narrowed_in_the_query_too(document: dict[str, Any], name: str) -> None:
    said = {
        parameter["name"]: parameter["in"] for parameter in document["paths"]["/api/v1/feedback"]["get"]["parameters"]
    }

    assert said[name] == "query"


@pytest.mark.parametrize(("field", "words"), KINDS.items())
def test_a_word_is_one_of_the_published_ones(
    document: dict[str, Any], field: tuple[str, str], words: list[str]
) -> None:
    schema = document["components"]["schemas"][field[0]]["properties"][field[1]]

    assert [part["enum"] for _, part in walked(schema) if "enum" in part] == [words]


@pytest.mark.parametrize("name", ["Completion", "Task", "Feedback", "Session"])
def test_a_published_shape_goes_by_its_name(document: dict[str, Any], name: str) -> None:
    assert name in document["components"]["schemas"]


# Whole


def test_the_token_is_asked_for_by_every_operation_of_the_api(document: dict[str, Any]) -> None:
    scheme = document["components"]["securitySchemes"]["Log10Token"]

    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-Log10-Token")
    for method, path, operation in operations(document):
        assert operation["security"] == [{"Log10Token": []}], f"{method} {path}"


def test_the_organization_may_be_named_in_the_header_of_every_operation(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        named = [one for one in operation["parameters"] if one["name"] == "X-Log10-Organization"]

        assert [(one["in"], one.get("required", False)) for one in named] == [("header", False)], f"{method} {path}"


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


def test_an_example_of_a_refusal_is_what_the_server_answers(
    api: Api, serving: Served, document: dict[str, Any]
) -> None:
    task, proposal, rating = (
        example_of(document, document["paths"][path]["post"])
        for path in ("/api/v1/feedback_task", "/api/v1/feedback", "/api/v1/feedback")
    )
    api.post("/feedback_task", json=task)
    api.post("/feedback", json=proposal)
    rating = {name: member for name, member in rating.items() if name != "id"}
    text = {"Content-Type": "text/plain"}

    answers = {
        ("post", "/api/v1/completions", "not_json"): api.post("/completions", content=b"{"),
        ("post", "/api/v1/completions", "unauthorized"): httpx.post(
            f"{serving.url}/api/v1/completions", headers={"X-Log10-Token": "unknown"}
        ),
        ("post", "/api/v1/completions", "wrong_organization"): api.post("/completions", json={"organization_id": "x"}),
        ("post", "/api/v1/completions", "wrong_media_type"): api.post("/completions", content=b"{}", headers=text),
        ("post", "/api/v1/completions", "invalid"): api.post("/completions", json={"id": 1}),
        ("get", "/api/v1/completions", "invalid"): api.get("/completions?limit=many"),
        ("get", "/api/v1/completions/{completionId}", "not_found"): api.get("/completions/greeting-9"),
        ("get", "/api/v1/completions/{completionId}", "invalid"): api.get("/completions/%01"),
        ("post", "/api/v1/feedback", "id_taken"): api.post("/feedback", json={**proposal, "comment": "Another"}),
        ("post", "/api/v1/feedback", "values_refused"): api.post(
            "/feedback", json={**rating, "json_values": {"grade": 9}}
        ),
        ("post", "/api/v1/feedback", "unknown_completion"): api.post(
            "/feedback",
            json={"task_id": task["id"], "json_values": {"grade": 1}, "completion_ids": ["greeting-9"]},
        ),
        ("post", "/api/v1/feedback", "no_match"): api.post(
            "/feedback", json={**rating, "allow_unmatched_feedback": False}
        ),
        ("post", "/api/v1/feedback_task", "invalid_schema"): api.post(
            "/feedback_task", json={"name": "a task", "json_schema": {"type": "objekt"}}
        ),
        ("post", "/api/v1/feedback/{feedbackId}/reject", "decided_already"): api.post("/feedback/feedback-1/reject"),
        ("patch", "/api/v1/feedback_task/{taskId}", "schema_is_fixed"): api.patch(
            f"/feedback_task/{task['id']}", json={"json_schema": {}}
        ),
    }

    for (method, path, code), answer in answers.items():
        responses = document["paths"][path][method]["responses"]
        examples = responses[str(answer.status_code)]["content"]["application/problem+json"]["examples"]
        assert (code, answer.json()) == (code, examples[code]["value"])


def test_every_operation_lists_its_refusals(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        wanted = {"401", "403", "500", "503"}
        wanted |= {"404"} if "{" in path else set()
        wanted |= {"400", "413", "415", "422"} if "requestBody" in operation else set()
        wanted |= {"422"} if any(one["in"] == "query" for one in operation["parameters"]) else set()

        assert wanted <= operation["responses"].keys(), f"{method} {path}"


def test_no_shape_of_another_program_is_left_in(document: dict[str, Any]) -> None:
    assert not {"HTTPValidationError", "ValidationError"} & document["components"]["schemas"].keys()


def test_every_reference_leads_somewhere_inside(document: dict[str, Any]) -> None:
    references = [part["$ref"] for _, part in walked(document) if isinstance(part.get("$ref"), str)]

    assert references
    for reference in references:
        assert isinstance(found(document, reference), dict)


def test_every_shape_is_used(document: dict[str, Any]) -> None:
    used = {part["$ref"].rpartition("/")[2] for _, part in walked(document) if isinstance(part.get("$ref"), str)}

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
        names = [one["name"] for one in operation.get("parameters", []) if one["in"] == "path"]
        assert names == re.findall(r"\{(\w+)\}", path), f"{method} {path}"
        assert all(one["required"] for one in operation.get("parameters", []) if one["in"] == "path")
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
        for field, said in schema.get("properties", {}).items()
        if not said.get("description")
        and not ("$ref" in said and resolved(document, said).get("description"))
        and name not in {"HTTPValidationError", "ValidationError"}
    ]
    undescribed += [
        f"{method} {path} {one['name']}"
        for method, path, operation in operations(document)
        for one in operation.get("parameters", [])
        if not one.get("description")
    ]

    assert undescribed == []


def test_no_path_of_a_machine_is_in_the_document(document: dict[str, Any]) -> None:
    for word in ["/work/", "/home/", "site-packages", "sqlite://", "postgresql://"]:
        assert word not in json.dumps(document)


# True


def example_of(document: dict[str, Any], operation: dict[str, Any]) -> Any:
    """The example of a body, where Swagger UI takes it from: the media type, else the schema."""
    media = operation["requestBody"]["content"]["application/json"]
    return media.get("example", body_schema(document, operation).get("example"))


def path_of(path: str, operation: dict[str, Any]) -> str:
    for one in operation.get("parameters", []):
        if one["in"] == "path":
            examples = [one.get("example"), *one["schema"].get("examples", []), one["schema"].get("example")]
            chosen = next(example for example in examples if example)
            path = path.replace("{" + one["name"] + "}", chosen)
    return path


def executed(api: Api, document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> httpx.Response:
    """What pressing Execute does with the examples as they stand."""
    body = (
        {"json": example_of(document, operation)} if method in {"post", "patch"} and "requestBody" in operation else {}
    )
    if body.get("json", body) is None:
        body = {}
    return api.request(method, str(api.base_url.copy_with(path=path_of(path, operation))), **body)


def page_of(document: dict[str, Any]) -> list[Operation]:
    """The operations in the order in which Swagger UI shows them."""
    rank = [tag["name"] for tag in document["tags"] if tag["name"] in TAGS]
    shown = [one for one in operations(document) if one[2]["tags"][0] in rank and not one[1].endswith(DECISIONS)]
    return sorted(shown, key=lambda one: rank.index(one[2]["tags"][0]))


def in_order(document: dict[str, Any]) -> list[Operation]:
    """What makes things, in the order of the page; what reads and changes them; what deletes them."""
    return sorted(page_of(document), key=lambda one: ["post", "get", "patch", "delete"].index(one[0]))


def test_every_example_works_as_it_stands(api: Api, document: dict[str, Any]) -> None:
    wrong: list[str] = []

    for method, path, operation in in_order(document):
        for _ in range(2 if method == "post" else 1):
            answer = executed(api, document, method, path, operation)
            if answer.status_code != int(success(operation)[0]):
                wrong.append(f"{method} {path}: {answer.status_code} {answer.text}")

    assert wrong == []


def test_the_examples_work_from_the_top_of_the_page_to_its_end(api: Api, document: dict[str, Any]) -> None:
    """The document's own description promises this order."""
    answers = {
        f"{method} {path}": executed(api, document, method, path, operation)
        for method, path, operation in page_of(document)
    }

    assert {name: answer.text for name, answer in answers.items() if not answer.is_success} == {}


def test_what_is_answered_is_what_is_documented(api: Api, document: dict[str, Any]) -> None:
    wrong: list[str] = []
    seen = 0

    for method, path, operation in in_order(document):
        answer = executed(api, document, method, path, operation)
        _, said = success(operation)
        if "content" not in said:
            assert answer.content == b""
            continue
        seen += 1
        assert answer.headers["content-type"] in said["content"]
        schema = {**said["content"]["application/json"]["schema"], "components": document["components"]}
        wrong += [
            f"{method} {path}: {fault.json_path} {fault.message}"
            for fault in Draft202012Validator(schema).iter_errors(answer.json())
        ]
        wrong += [f"{method} {path}: undocumented {name}" for name in undocumented(document, schema, answer.json())]

    assert wrong == []
    assert seen >= len(PUBLISHED)


# What differs from run to run: ids and times of the server, and who called. A cursor is absent from the examples.
CHANGING = {"organization_id", "created_at_ms", "uploaded_at_ms", "author", "author_id"}


def without_changing_members(answer: Any) -> Any:
    if isinstance(answer, list):
        return [without_changing_members(item) for item in answer]
    if isinstance(answer, dict):
        return {
            name: type(member).__name__ if name in CHANGING else without_changing_members(member)
            for name, member in answer.items()
        }
    return answer


def answer_example(document: dict[str, Any], operation: dict[str, Any]) -> Any:
    """The example of an answer, where Swagger UI takes it from: the media type, else the schema."""
    media = success(operation)[1]["content"]["application/json"]
    if "example" in media:
        return media["example"]
    if media["schema"].get("type") == "array":
        return [resolved(document, media["schema"]["items"])["example"]]
    return resolved(document, media["schema"])["example"]


def example_query(operation: dict[str, Any]) -> dict[str, str]:
    """The query parameters that Swagger UI fills in."""
    parameters = operation.get("parameters", [])
    return {one["name"]: one["example"] for one in parameters if one["in"] == "query" and "example" in one}


# An order in which each of these answers is the one that the document shows, in an organization that has nothing yet.
# The batch makes other completions, so it comes after what lists or counts completions.
IN_AN_ORDER_THAT_ANSWERS_THE_EXAMPLES = [
    *("create", "update", "getCompletion", "listCompletions", "getSession"),
    *("createFeedbackTask", "getFeedbackTask", "listFeedbackTasks", "listUngraded"),
    *("upload", "list", "get", "getUsage", "createBatch", "updateFeedbackTask", "health"),
]


def test_the_examples_of_answers_are_what_the_server_answers(api: Api, document: dict[str, Any]) -> None:
    by_id = {
        operation["operationId"]: (method, path, operation) for method, path, operation in operations(document, "/")
    }

    for operation_id in IN_AN_ORDER_THAT_ANSWERS_THE_EXAMPLES:
        method, path, operation = by_id[operation_id]
        url = str(api.base_url.copy_with(path=path_of(path, operation)))
        body = {"json": example_of(document, operation)} if method != "get" and "requestBody" in operation else {}
        answer = api.request(method, url, params=example_query(operation), **body)

        example = answer_example(document, operation)
        if operation_id == "health":
            example = {**example, "database": answer.json()["database"]}
        assert without_changing_members(answer.json()) == without_changing_members(example), operation_id


def test_every_example_of_an_answer_has_the_members_of_its_schema(document: dict[str, Any]) -> None:
    """Those too that the examples of requests do not lead to: a new session, decisions and test runs."""
    for method, path, operation in operations(document, "/"):
        content = success(operation)[1].get("content", {})
        if "application/json" in content:
            example = answer_example(document, operation)
            schema = {**content["application/json"]["schema"], "components": document["components"]}
            assert list(Draft202012Validator(schema).iter_errors(example)) == [], f"{method} {path}"
            assert list(undocumented(document, schema, example)) == [], f"{method} {path}"


def lines_example(document: dict[str, Any], path: str) -> list[Any]:
    content = document["paths"][path]["get"]["responses"]["200"]["content"]["application/x-ndjson"]
    return [json.loads(line) for line in content["example"].splitlines()]


def test_the_example_of_an_export_is_what_the_server_answers(api: Api, document: dict[str, Any]) -> None:
    api.post("/sessions")

    lines = [json.loads(line) for line in api.get("/export").text.splitlines()]

    example = lines_example(document, "/api/v1/export")
    assert [line.keys() for line in lines] == [line.keys() for line in example]
    assert [line["type"] for line in lines] == [line["type"] for line in example]
    assert (lines[0]["format"], lines[0]["version"]) == (example[0]["format"], example[0]["version"])


def test_the_example_of_the_training_export_is_what_the_server_answers(api: Api, document: dict[str, Any]) -> None:
    for path in ("/api/v1/completions", "/api/v1/feedback_task", "/api/v1/feedback"):
        api.post(str(api.base_url.copy_with(path=path)), json=example_of(document, document["paths"][path]["post"]))
    query = example_query(document["paths"]["/api/v1/export/training"]["get"])

    lines = [json.loads(line) for line in api.get("/export/training", params=query).text.splitlines()]

    assert lines == lines_example(document, "/api/v1/export/training")


def test_the_example_of_a_test_run_is_what_the_server_answers(api: Api, document: dict[str, Any]) -> None:
    example = answer_example(document, document["paths"]["/api/v1/test_runs/{testRunId}"]["get"])
    query = 'mutation { createTestRun(input: {name: "nightly"}) { id reportUploadUrl } }'
    answer = api.post(str(api.base_url.copy_with(path="/graphql")), json={"query": query})
    run = answer.json()["data"]["createTestRun"]
    tags = [tag.replace(example["id"], run["id"]) for tag in example["tests"][0]["completion_tags_selector"]]
    api.completion(id="greeting-1", tags=tags)
    report = json.loads(json.dumps(example["report"]).replace(example["id"], run["id"]))
    httpx.put(run["reportUploadUrl"], json=report).raise_for_status()

    answered = api.get(f"/test_runs/{run['id']}")
    listed = api.get("/test_runs")

    text = answered.text.replace(run["id"], example["id"])
    assert without_changing_members(json.loads(text)) == without_changing_members(example)
    example = answer_example(document, document["paths"]["/api/v1/test_runs"]["get"])
    text = listed.text.replace(run["id"], example["test_runs"][0]["id"])
    assert without_changing_members(json.loads(text)) == without_changing_members(example)


@pytest.mark.parametrize(("decision", "state"), [("acceptFeedback", "accepted"), ("rejectFeedback", "rejected")])
def test_the_example_of_a_decision_is_what_the_server_answers(
    api: Api, document: dict[str, Any], decision: str, state: str
) -> None:
    by_id = {operation["operationId"]: (method, path, operation) for method, path, operation in operations(document)}
    for operation_id in ("create", "createFeedbackTask", "upload"):
        method, path, operation = by_id[operation_id]
        proposed = {"state": "proposed"} if operation_id == "upload" else {}
        api.request(method, str(api.base_url.copy_with(path=path)), json=example_of(document, operation) | proposed)

    method, path, operation = by_id[decision]
    answer = executed(api, document, method, path, operation)

    example = answer_example(document, operation)
    assert example["state"] == state
    assert without_changing_members(answer.json()) == without_changing_members(example)


def test_the_batch_example_makes_what_it_shows_and_can_be_executed_again(api: Api, document: dict[str, Any]) -> None:
    batch = example_of(document, document["paths"]["/api/v1/completions/batch"]["post"])
    others = json.dumps({path: item for path, item in document["paths"].items() if path != "/api/v1/completions/batch"})

    first, second = (api.post("/completions/batch", json=batch) for _ in range(2))

    assert first.json() == second.json()
    for completion_id in first.json()["ids"]:
        assert api.get(f"/completions/{completion_id}").status_code == 200
        assert completion_id not in others


def undocumented(document: dict[str, Any], schema: dict[str, Any], answer: Any) -> Iterator[str]:
    """Members of an answer that its schema does not name."""
    schema = resolved(document, schema)
    if isinstance(answer, list) and "items" in schema:
        for item in answer:
            yield from undocumented(document, schema["items"], item)
    elif isinstance(answer, dict) and "properties" in schema:
        yield from answer.keys() - schema["properties"].keys()
        for name, member in answer.items():
            yield from undocumented(document, schema["properties"].get(name, {}), member)


def test_a_refusal_is_what_is_documented(api: Api, document: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}

    for answer in [
        api.post("/completions", json={"tags": 5}),
        api.get("/completions/none"),
        api.put("/completions"),
        api.post("/completions", content=b"{"),
    ]:
        said = problem(answer, answer.status_code)

        assert list(Draft202012Validator(schema).iter_errors(said)) == []
        assert said.keys() <= document["components"]["schemas"]["Problem"]["properties"].keys()


# The pages


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_a_page_works_without_another_host(serving: Served, database: Database, page: str) -> None:
    answer = httpx.get(serving.url + page)
    named = re.findall(r'(?:src|href|spec-url)="([^"]+)"', answer.text)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "//" not in answer.text.replace("<!doctype html>", "")
    assert len(named) >= 3
    for name in named:
        asset = httpx.get(httpx.URL(serving.url + page).join(name))
        assert asset.status_code == 200, name
        assert len(asset.content) > 100


def test_the_page_that_starts_swagger_ui_reads_the_document_beside_it(serving: Served, database: Database) -> None:
    script = httpx.get(f"{serving.url}/docs/start.js")

    assert script.headers["content-type"].startswith("text/javascript")
    assert '"openapi.json"' in script.text
    assert "http" not in script.text


@pytest.mark.parametrize("name", ["nothing.js", "..%2fdocs.py", "%2e%2e/app.py", "redoc.standalone.js.map"])
def test_only_the_assets_are_served(serving: Served, database: Database, name: str) -> None:
    problem(httpx.get(f"{serving.url}/docs/{name}"), 404, "not_found")
