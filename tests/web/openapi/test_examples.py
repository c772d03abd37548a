"""The examples of the OpenAPI document work, and the server answers what the document says."""

import json
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.conftest import Api, Served, problem
from tests.web.openapi.document import (
    Operation,
    answer_example,
    example_of,
    example_query,
    operations,
    success,
    undocumented,
)

TAGS = {"Completions", "Sessions", "FeedbackTasks", "Feedback"}
# A decision on a proposal can be made once, and the example is no proposal.
DECISIONS = ("/accept", "/reject")


def path_of(path: str, operation: dict[str, Any]) -> str:
    """The path with the examples of its parameters."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            schema = parameter["schema"]
            examples = [parameter.get("example"), *schema.get("examples", []), schema.get("example")]
            chosen = next(example for example in examples if example)
            path = path.replace("{" + parameter["name"] + "}", chosen)
    return path


def executed(api: Api, document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> httpx.Response:
    """The answer when a user presses Execute in Swagger UI without changing the examples."""
    body = (
        {"json": example_of(document, operation)} if method in {"post", "patch"} and "requestBody" in operation else {}
    )
    if body.get("json", body) is None:
        body = {}
    return api.request(method, str(api.base_url.copy_with(path=path_of(path, operation))), **body)


def page_of(document: dict[str, Any]) -> list[Operation]:
    """The operations in the order in which Swagger UI shows them."""
    rank = [tag["name"] for tag in document["tags"] if tag["name"] in TAGS]
    shown = [
        (method, path, operation)
        for method, path, operation in operations(document)
        if operation["tags"][0] in rank and not path.endswith(DECISIONS)
    ]
    return sorted(shown, key=lambda item: rank.index(item[2]["tags"][0]))


def in_order(document: dict[str, Any]) -> list[Operation]:
    """The operations of the page, sorted so that those that create come first and those that delete come last."""
    return sorted(page_of(document), key=lambda item: ["post", "get", "patch", "delete"].index(item[0]))


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
        _, documented = success(operation)
        if "content" not in documented:
            assert answer.content == b""
            continue
        seen += 1
        assert answer.headers["content-type"] in documented["content"]
        schema = {**documented["content"]["application/json"]["schema"], "components": document["components"]}
        wrong += [
            f"{method} {path}: {error.json_path} {error.message}"
            for error in Draft202012Validator(schema).iter_errors(answer.json())
        ]
        wrong += [f"{method} {path}: undocumented {name}" for name in undocumented(document, schema, answer.json())]

    assert wrong == []
    assert seen >= 10  # as many operations as the published document has


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


def test_a_refusal_is_what_is_documented(api: Api, document: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}

    for answer in [
        api.post("/completions", json={"tags": 5}),
        api.get("/completions/none"),
        api.put("/completions"),
        api.post("/completions", content=b"{"),
    ]:
        refusal = problem(answer, answer.status_code)

        assert list(Draft202012Validator(schema).iter_errors(refusal)) == []
        assert refusal.keys() <= document["components"]["schemas"]["Problem"]["properties"].keys()


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
