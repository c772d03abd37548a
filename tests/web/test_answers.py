"""Answers, requests and the OpenAPI document hold together: one member means one thing, and what is answered is documented."""

import inspect
import json
from collections.abc import Iterator
from typing import Any, get_args

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from log10_server.db.database import Database
from log10_server.settings import Settings
from log10_server.web.app import create_app
from log10_server.web.http.answers import Answer, StringsText, component_schemas
from log10_server.web.http.encoding import body_of
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.legacy.pages import FeedbackWithTaskName, TaskWithTime
from log10_server.web.v1.completions import Completion, CompletionUpload
from log10_server.web.v1.feedback import Decision, Feedback, FeedbackUpload
from log10_server.web.v1.feedback_tasks import Task, TaskChanges, TaskUpload
from tests.conftest import Api

NULL = {"type": "null"}
STREAMS = {"exportData", "exportTrainingData"}


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(Settings(), Database("sqlite:///never-opened.db"))


@pytest.fixture(scope="module")
def document(app: FastAPI) -> dict[str, Any]:
    return dict(app.openapi())


def answer_classes(base: type[Answer] = Answer) -> Iterator[type[Answer]]:
    """Every answer of every dialect."""
    for answer in base.__subclasses__():
        if answer.__module__.startswith("log10_server."):
            yield answer
            yield from answer_classes(answer)


def endpoints(app: FastAPI) -> list[Endpoint]:
    return [route for route in app.routes if isinstance(route, Endpoint)]


# How answers are declared


def test_an_answer_is_built_by_keyword_and_leaves_out_only_what_is_none(app: FastAPI) -> None:
    for answer in answer_classes():
        parameters = inspect.signature(answer).parameters.values()
        fields = msgspec.structs.fields(answer)

        assert {parameter.kind for parameter in parameters} == {inspect.Parameter.KEYWORD_ONLY}, answer
        assert answer.__struct_config__.omit_defaults, answer
        assert answer.__doc__, answer
        for field in fields:
            may_be_none = type(None) in get_args(
                get_args(field.type)[0] if hasattr(field.type, "__metadata__") else field.type
            )
            assert field.default is (None if may_be_none else msgspec.NODEFAULT), f"{answer.__name__}.{field.name}"


class Example(Answer, kw_only=True):
    """An answer of a test."""

    text: str
    count: int
    payload: StringsText
    note: str | None = None


def test_a_member_without_a_default_is_always_answered() -> None:
    assert body_of(Example(text="", count=0, payload=msgspec.Raw("[]"))) == b'{"text":"","count":0,"payload":[]}'


def test_half_of_a_surrogate_pair_is_answered_as_its_escape() -> None:
    """`msgspec` encodes no such text; the standard library writes the whole answer then."""
    example = Example(text="\ud83d", count=1, payload=msgspec.Raw('["\\u0000", 1.00]'), note="é")

    assert body_of(example) == b'{"text":"\\ud83d","count":1,"payload":["\\u0000", 1.00],"note":"\\u00e9"}'
    assert json.loads(body_of([example])) == [json.loads(body_of(example))]


def test_two_answers_of_one_name_are_refused() -> None:
    other = msgspec.defstruct("Completion", [("id", str)], bases=(Answer,), kw_only=True)

    with pytest.raises(TypeError, match="Completion"):
        component_schemas([Completion, other])


# The document


def test_every_answer_is_in_the_document(app: FastAPI, document: dict[str, Any]) -> None:
    documented = {
        operation["operationId"]: operation for path in document["paths"].values() for operation in path.values()
    }
    schemas = document["components"]["schemas"]

    for endpoint in endpoints(app):
        if not endpoint.include_in_schema or endpoint.operation_id in STREAMS or endpoint.status_code == 204:
            continue
        assert endpoint.operation_id is not None
        success = documented[endpoint.operation_id]["responses"][str(endpoint.status_code or 200)]
        schema = success["content"]["application/json"]["schema"]
        assert endpoint.answer is not None, endpoint.path
        name = (get_args(endpoint.answer) or (endpoint.answer,))[0].__name__
        assert schema.get("items", schema) == {"$ref": f"#/components/schemas/{name}"}
        for part, expected in component_schemas([endpoint.answer]).items():
            assert schemas[part] == expected


def test_no_answer_is_documented_as_null(document: dict[str, Any]) -> None:
    names = {answer.__name__ for answer in answer_classes()} & document["components"]["schemas"].keys()

    assert len(names) > 10
    for name in names:
        for member, schema in document["components"]["schemas"][name]["properties"].items():
            assert NULL not in schema.get("anyOf", []), f"{name}.{member}"
            assert "default" not in schema


# What one member means

# `status`, say, is described in the same words wherever it is sent and answered; these are described by what differs.
DESCRIBED_APART = {
    *["id", "organization_id", "tags", "request", "response", "session_id", "json_schema", "json_values", "task_id"],
    *["comment", "state", "matched_completion_ids"],
}


@pytest.mark.parametrize(
    ("request_model", "answer"),
    [
        (CompletionUpload, Completion),
        (TaskUpload, Task),
        (TaskChanges, Task),
        (FeedbackUpload, Feedback),
        (Decision, Feedback),
    ],
)
def test_a_member_means_the_same_in_a_request_and_in_its_answer(
    document: dict[str, Any], request_model: type[BaseModel], answer: type[Answer]
) -> None:
    sent = document["components"]["schemas"][request_model.__name__]["properties"]
    answered = document["components"]["schemas"][answer.__name__]["properties"]
    shared = sent.keys() & answered.keys()

    assert shared
    for member in shared - {"matched_completion_ids"}:  # an upload ignores it, of whatever type
        assert kind_of(sent[member]) == kind_of(answered[member]), member
        if member not in DESCRIBED_APART:
            assert sent[member]["description"] == answered[member]["description"], member


def kind_of(schema: dict[str, Any]) -> Any:
    """What values a member may have, apart from null and from the limits of a request."""
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice != NULL]
    return [
        {name: choice[name] for name in ("type", "enum", "items", "additionalProperties") if name in choice}
        for choice in choices
    ]


# Real answers


def test_a_real_answer_of_every_operation_is_what_the_document_says(
    api: Api, app: FastAPI, document: dict[str, Any]
) -> None:
    answers = dict(real_answers(api))
    operations = {
        operation["operationId"]: operation
        for path in document["paths"].values()
        for operation in path.values()
        if any("application/json" in answer.get("content", {}) for answer in operation["responses"].values())
    }

    assert answers.keys() == operations.keys()
    for name, answer in answers.items():
        assert answer.is_success, f"{name}: {answer.text}"
        schema = operations[name]["responses"][str(answer.status_code)]["content"]["application/json"]["schema"]
        faults = Draft202012Validator(closed({**schema, "components": document["components"]})).iter_errors(
            answer.json()
        )
        assert [f"{name}: {fault.json_path} {fault.message}" for fault in faults] == []


def closed(schema: Any) -> Any:
    """The schema, with no members but those that it names."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {name: closed(part) for name, part in schema.items()}
    return {**whole, "additionalProperties": False} if isinstance(schema.get("properties"), dict) else whole


def real_answers(api: Api) -> Iterator[tuple[str, httpx.Response]]:
    """Each operation once, with as many members as it can have."""
    whole = {
        "id": "c",
        "kind": "chat",
        "status": "failed",
        "tags": ["a"],
        "session_id": "s",
        "duration": 1.5,
        "request": {"model": "m"},
        "response": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        "stacktrace": [{"file": "f"}],
        "failure_kind": "k",
        "failure_reason": "r",
    }
    yield "create", api.post("/completions", json=whole)
    yield "update", api.post("/completions/c", json={"duration": 2})
    yield "createBatch", api.post("/completions/batch", json=[{"id": "d", "tags": ["a"], "session_id": "s"}])
    yield "listCompletions", api.get("/completions", params={"limit": 1})
    yield "getCompletion", api.get("/completions/c")
    yield "createSession", api.post("/sessions")
    yield "getSession", api.get("/sessions/s", params={"limit": 1})
    task = {"id": "t", "name": "n", "json_schema": {}, "completion_tags_selector": ["a"]}
    yield "createFeedbackTask", api.post("/feedback_task", json=task)
    yield "listFeedbackTasks", api.get("/feedback_task")
    yield "getFeedbackTask", api.get("/feedback_task/t")
    yield "updateFeedbackTask", api.patch("/feedback_task/t", json={"instruction": "i"})
    yield "listUngraded", api.get("/completions/ungraded")
    for number, state in enumerate(["accepted", "proposed", "proposed"]):
        upload = {"id": f"f{number}", "task_id": "t", "json_values": {"x": 1}, "completion_ids": ["c"], "state": state}
        answer = api.post("/feedback", json={**upload, "comment": "c"})
    yield "upload", answer
    yield "list", api.get("/feedback")
    yield "get", api.get("/feedback/f0")
    yield "acceptFeedback", api.post("/feedback/f1/accept", json={"json_values": {"x": 2}})
    yield "rejectFeedback", api.post("/feedback/f2/reject")
    mutation = 'mutation { createTestRun(input: {name: "nightly"}) { id reportUploadUrl } }'
    created = api.post(str(api.base_url.join("/graphql")), json={"query": mutation}).json()["data"]["createTestRun"]
    tests = [{"nodeid": "t.py::a", "outcome": "passed", "duration": 1, "log10_completion_tags_selector": ["a"]}]
    httpx.put(created["reportUploadUrl"], json={"tests": tests}).raise_for_status()
    yield "listTestRuns", api.get("/test_runs")
    yield "getTestRun", api.get(f"/test_runs/{created['id']}")
    yield "getUsage", api.get("/usage", params={"group_by": "model"})
    yield "health", api.get(str(api.base_url.join("/healthz")))


def test_the_lists_of_log10_io_answer_all_that_the_versioned_api_answers(api: Api) -> None:
    """Their rows are built member by member, so a member that is added to the one could be forgotten in the other."""
    answers = dict(real_answers(api))
    query = {"organization_id": api.organization.id}

    (feedback,) = [row for row in api.get("/feedback", params=query).json()["data"] if row["id"] == "f0"]
    (task,) = api.get("/feedback_task", params=query).json()["data"]

    assert feedback.pop("task_name") == "n"
    assert feedback == answers["get"].json()
    assert task.pop("created_at")
    assert task.pop("json_schema") == {"required": []}
    assert task == {
        name: member for name, member in answers["updateFeedbackTask"].json().items() if name != "json_schema"
    }
    assert {*FeedbackWithTaskName.__struct_fields__} - {*Feedback.__struct_fields__} == {"task_name"}
    assert {*TaskWithTime.__struct_fields__} - {*Task.__struct_fields__} == {"created_at"}
