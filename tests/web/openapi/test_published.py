"""The OpenAPI document is current, and a superset of the published one."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from log10_server.db.database import Database
from tests.conftest import Served
from tests.web.openapi.document import (
    body_schema,
    objects_in,
    resolved,
    success,
)

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


def test_the_written_document_is_current(document: dict[str, Any], checkout: Path) -> None:
    written = json.loads((checkout / "openapi" / "log10-server.json").read_text())

    assert written == document, "Stale: run `make openapi`."


def test_the_served_document_is_the_written_one(serving: Served, database: Database, document: dict[str, Any]) -> None:
    assert httpx.get(f"{serving.url}/openapi.json").json() == document


@pytest.mark.parametrize(("where", "names"), PUBLISHED.items())
def test_a_published_operation_is_there_by_its_names(
    document: dict[str, Any], where: tuple[str, str], names: tuple[str, str, str]
) -> None:
    method, path = where
    operation_id, tag, status = names

    operation = document["paths"][path][method]

    assert operation["operationId"] == operation_id
    assert operation["tags"] == [tag]
    assert status in operation["responses"]


@pytest.mark.parametrize(("where", "published"), ANSWERED.items())
def test_an_answer_has_every_published_field(
    document: dict[str, Any], where: tuple[str, str], published: tuple[str, list[str]]
) -> None:
    method, path = where
    inside, fields = published
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
    places = {
        parameter["name"]: parameter["in"] for parameter in document["paths"]["/api/v1/feedback"]["get"]["parameters"]
    }

    assert places[name] == "query"


@pytest.mark.parametrize(("field", "words"), KINDS.items())
def test_a_word_is_one_of_the_published_ones(
    document: dict[str, Any], field: tuple[str, str], words: list[str]
) -> None:
    schema = document["components"]["schemas"][field[0]]["properties"][field[1]]

    assert [part["enum"] for _, part in objects_in(schema) if "enum" in part] == [words]


@pytest.mark.parametrize("name", ["Completion", "Task", "Feedback", "Session"])
def test_a_published_shape_goes_by_its_name(document: dict[str, Any], name: str) -> None:
    assert name in document["components"]["schemas"]
