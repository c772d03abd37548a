"""The generated SDK `log10py` 0.1.0, unmodified, through all of its ten operations against a served port.

It can't decode some of the contract's answers from any server: a task's selector is an array (its model has an object
there, by a slip of the document it was generated from), and a stored request comes back without the fields that were
not sent (its model wants each as an explicit `null`). Where that is so, the answer is read on the wire instead, by a
hook of the SDK's own HTTP session, and a test says so.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import HERE
from tests.running import CHECKOUT, Program

SELECTOR_IS_AN_ARRAY = [
    "createFeedbackTask",
    "createFeedbackTask with plain values",
    "getFeedbackTask",
    "listFeedbackTasks",
]
REQUEST_WITHOUT_NULLS = ["create", "update", "listUngraded"]

Calls = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """What the one drive of the SDK on each database gave; driving it for each test would take long."""
    return {}


@pytest.fixture
def driven(program: Program, python_with_log10py: Path, kept: dict[str, Any]) -> dict[str, Any]:
    """The calls of the SDK, and what the server answers afterwards over plain HTTP."""
    kind = "postgres" if program.is_postgres else "sqlite"
    if kind not in kept:
        served = program.serve()
        exported = served.exported()
        ran = subprocess.run(
            [python_with_log10py, HERE / "drive_log10py.py", *exported.values()],
            env={"PATH": program.environment["PATH"]},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr
        with httpx.Client(base_url=f"{served.url}/api/v1", trust_env=False) as api:
            api.headers["X-Log10-Token"] = exported["LOG10_TOKEN"]
            kept[kind] = {
                "calls": json.loads(ran.stdout),
                "exported": exported,
                "completion": api.get("/completions/hello-1").json(),
                "failed": [
                    completion
                    for completion in api.get("/completions").json()["completions"]
                    if completion["id"] != "hello-1"
                ],
                "tasks": api.get("/feedback_task").json(),
                "feedback": api.get("/feedback").json()["feedback"],
            }
    results: dict[str, Any] = kept[kind]
    return results


@pytest.fixture
def calls(driven: dict[str, Any]) -> Calls:
    by_name: Calls = driven["calls"]
    return by_name


def test_every_operation_is_called_and_answered_with_the_contracts_status(calls: Calls) -> None:
    assert {name: call["status"] for name, call in calls.items()} == {
        "createSession": 201,
        "create plain": 201,
        "create": 201,
        "update": 200,
        "update failed": 200,
        "createFeedbackTask": 200,
        "createFeedbackTask with plain values": 200,
        "getFeedbackTask": 200,
        "listFeedbackTasks": 200,
        "listUngraded": 200,
        "upload by selector": 200,
        "upload by ids": 200,
        "get": 200,
        "list": 200,
        "list narrowed": 200,
        "get unknown": 404,
        "create for another": 403,
    }


def test_it_decodes_all_but_what_it_can_not_decode_from_any_server(calls: Calls) -> None:
    """When one of these is decoded after all, the tests below should read what the SDK made of it."""
    failed = {name for name, call in calls.items() if call["failure"] and call["status"] < 400}

    assert failed == {*SELECTOR_IS_AN_ARRAY, *REQUEST_WITHOUT_NULLS}
    for name in failed:
        assert calls[name]["failure"].startswith(("AttributeError: unable to unmarshal", "KeyError")), name


def test_it_sends_token_and_organization_as_headers(driven: dict[str, Any], calls: Calls) -> None:
    exported = driven["exported"]

    assert {call["headers"]["x-log10-token"] for call in calls.values()} == {exported["LOG10_TOKEN"]}
    named = {name: call["headers"].get("x-log10-organization") for name, call in calls.items()}
    about_tasks = dict.fromkeys(SELECTOR_IS_AN_ARRAY)  # the document gives these operations no such header
    elsewhere = dict.fromkeys(calls.keys() - about_tasks.keys(), exported["LOG10_ORG_ID"])
    assert named == {**elsewhere, **about_tasks, "create for another": "another"}


def test_its_session_is_decoded(calls: Calls) -> None:
    assert calls["createSession"]["decoded"]["session"]["id"]
    assert calls["createSession"]["decoded"] == calls["createSession"]["answer"]


def test_a_completion_without_payloads_is_decoded(driven: dict[str, Any], calls: Calls) -> None:
    plain, failed = calls["create plain"]["decoded"], calls["update failed"]["decoded"]

    assert (plain["kind"], plain["status"], plain["tags"]) == ("chat", "started", ["greeting"])
    assert plain["organization_id"] == driven["exported"]["LOG10_ORG_ID"]
    assert (failed["id"], failed["status"], failed["failure_kind"]) == (plain["id"], "failed", "timeout")
    assert driven["failed"][0]["failure_reason"] == "Too slow."


def test_a_completion_is_stored_as_it_was_sent(driven: dict[str, Any], calls: Calls) -> None:
    """Read on the wire: the SDK can't decode a request that lacks the optional fields it did not send itself."""
    opened, closed, stored = calls["create"]["sent"], calls["update"]["sent"], driven["completion"]

    assert calls["update"]["answer"] == stored
    for name in ("request", "stacktrace", "tags", "session_id", "kind"):
        assert stored[name] == opened[name]
    for name in ("response", "duration", "status"):
        assert stored[name] == closed[name]


def test_a_task_is_stored_as_it_was_sent_and_its_empty_object_means_no_tags(
    driven: dict[str, Any], calls: Calls
) -> None:
    """Read on the wire: the SDK can't decode a selector that is an array."""
    empty, plain = calls["createFeedbackTask"], calls["createFeedbackTask with plain values"]

    assert empty["sent"]["completion_tags_selector"] == {}
    assert empty["answer"]["completion_tags_selector"] == []
    assert plain["answer"]["completion_tags_selector"] == ["greeting"]
    for call in (empty, plain):
        for name in ("id", "name", "instruction", "json_schema"):
            assert call["answer"][name] == call["sent"][name]
    assert calls["getFeedbackTask"]["answer"] == plain["answer"]
    assert calls["listFeedbackTasks"]["answer"] == driven["tasks"] == [plain["answer"], empty["answer"]]


def test_what_is_ungraded_is_listed_newest_first(calls: Calls) -> None:
    """Read on the wire, like `create`."""
    listed = [completion["id"] for completion in calls["listUngraded"]["answer"]["completions"]]

    assert listed == ["hello-1", calls["create plain"]["answer"]["id"]]


def test_feedback_by_selector_and_by_ids_is_decoded(driven: dict[str, Any], calls: Calls) -> None:
    by_selector, by_ids = calls["upload by selector"]["decoded"], calls["upload by ids"]["decoded"]

    assert by_selector["matched_completion_ids"] == ["hello-1", calls["create plain"]["answer"]["id"]]
    assert by_selector["organization_id"] == driven["exported"]["LOG10_ORG_ID"]
    assert by_selector["comment"] == "By selector."
    assert (by_ids["id"], by_ids["matched_completion_ids"]) == ("given-1", ["hello-1"])
    assert by_ids["completions_summary"]


def test_matched_ids_that_the_sdk_must_send_are_ignored(calls: Calls) -> None:
    assert calls["upload by ids"]["sent"]["matched_completion_ids"] == ["not-the-client's-to-say"]
    assert calls["upload by ids"]["answer"]["matched_completion_ids"] == ["hello-1"]


def test_feedback_is_fetched_and_listed_also_by_a_body_that_goes_with_get(driven: dict[str, Any], calls: Calls) -> None:
    ids = [item["id"] for item in driven["feedback"]]

    assert calls["get"]["decoded"] == calls["upload by ids"]["decoded"]
    assert [item["id"] for item in calls["list"]["decoded"]["feedback"]] == ids
    assert calls["list narrowed"]["method"] == "GET"
    assert calls["list narrowed"]["sent"]["completion_id"] == "hello-1"
    assert [item["id"] for item in calls["list narrowed"]["decoded"]["feedback"]] == ["given-1"]


def test_a_refusal_reaches_its_user_as_an_error_with_the_problem_in_it(calls: Calls) -> None:
    unknown, foreign = calls["get unknown"], calls["create for another"]

    assert unknown["failure"].startswith("SDKError")
    assert unknown["answer"]["detail"] in unknown["failure"]
    assert foreign["answer"]["code"] == "wrong_organization"


def test_it_was_not_installed_beside_the_server(python_with_log10py: Path) -> None:
    completed = subprocess.run(
        [
            python_with_log10py,
            "-c",
            "import log10.sdkconfiguration as c; print(c.__file__, c.SDKConfiguration.sdk_version)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    file, version = completed.stdout.split()
    assert Path(file).is_relative_to(CHECKOUT / ".client-envs" / "log10py")
    assert version == "0.1.0"
