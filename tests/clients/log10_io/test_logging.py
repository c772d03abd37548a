"""Programs that log with `log10-io`: every kind of call it knows, and what the versioned API shows of them."""

import uuid
from typing import Any

import pytest

from tests.clients.log10_io.conftest import Home, run_program

Logged = dict[str, dict[str, Any]]

FINISHED = [
    "openai plain",
    "openai streaming",
    "openai tools",
    "openai vision",
    "openai text",
    "openai decorated",
    "anthropic plain",
    "anthropic streaming",
    "anthropic tools",
    "async openai plain",
    "async openai streaming",
    "async openai tools",
    "async anthropic plain",
    "async anthropic streaming",
    "async anthropic tools",
]


def every_completion(home: Home) -> list[dict[str, Any]]:
    completions: list[dict[str, Any]] = []
    page: dict[str, Any] = {"next_cursor": ""}
    while "next_cursor" in page:
        page = home.get("/completions", cursor=page["next_cursor"])
        completions += page["completions"]
    return completions


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """What the one run on each database gave; a run takes some seconds."""
    return {}


@pytest.fixture
def ran(request: pytest.FixtureRequest, kept: dict[str, Any]) -> dict[str, Any]:
    kind = request.node.callspec.params["migrated"]
    if kind not in kept:
        home: Home = request.getfixturevalue("home")
        seen = run_program(home)
        listed = every_completion(home)
        kept[kind] = {
            "seen": seen,
            "listed": listed,
            "logged": {completion["tags"][0]: completion for completion in listed},
            "sessions": {name: home.get(f"/sessions/{saw['session_id']}") for name, saw in seen.items()},
        }
    results: dict[str, Any] = kept[kind]
    return results


# The parameter must be known where `ran` decides by it.
pytestmark = pytest.mark.usefixtures("migrated")


def test_every_call_makes_one_completion(ran: dict[str, Any]) -> None:
    assert sorted(ran["logged"]) == sorted([*FINISHED, "openai failing", "async openai failing"])
    assert len(ran["listed"]) == len(ran["logged"])


def test_a_call_that_succeeds_is_finished_with_its_answer(ran: dict[str, Any], subtests: pytest.Subtests) -> None:
    for name in FINISHED:
        with subtests.test(name=name):
            completion = ran["logged"][name]

            assert completion["status"] == "finished"
            assert completion["duration"] >= 0
            assert completion["kind"] == ("prompt" if name == "openai text" else "chat")
            choice = completion["response"]["choices"][0]
            word = name.split()[-1]
            if word == "tools":
                assert choice["message"]["tool_calls"][0]["function"]["name"] == "weather"
            elif word == "text":
                assert choice["text"] == "You said: text"
            else:
                assert choice["message"]["content"] == f"You said: {'plain' if word == 'decorated' else word}"


def test_nested_tags_come_in_their_order_and_the_session_is_the_programs(
    ran: dict[str, Any], subtests: pytest.Subtests
) -> None:
    for name in [*FINISHED, "openai failing", "async openai failing"]:
        with subtests.test(name=name):
            completion = ran["logged"][name]

            inside = ["decorated"] if name == "openai decorated" else []
            assert completion["tags"] == [name, f"{name} inside", *inside]
            assert completion["session_id"] == ran["seen"][name]["session_id"]
            assert [listed["id"] for listed in ran["sessions"][name]["completions"]] == [completion["id"]]


def test_a_call_that_fails_is_failed_with_its_reason(ran: dict[str, Any]) -> None:
    completion = ran["logged"]["openai failing"]

    assert completion["status"] == "failed"
    assert completion["failure_kind"] == "BadRequestError"
    assert "The LLM fails as asked." in completion["failure_reason"]


def test_an_async_call_that_fails_is_never_closed_by_its_client_and_stays_started(ran: dict[str, Any]) -> None:
    completion = ran["logged"]["async openai failing"]

    assert completion["status"] == "started"
    assert "response" not in completion


def test_the_url_of_the_last_completion_names_the_organization_and_the_id(
    ran: dict[str, Any], subtests: pytest.Subtests
) -> None:
    for name in [name for name in FINISHED if name.startswith("openai")]:
        with subtests.test(name=name):
            saw = ran["seen"][name]

            assert saw["last_completion"]["organizationSlug"] == "ours"
            assert uuid.UUID(saw["last_completion"]["completionID"]).version == 4
            assert saw["url"].endswith(f"/app/ours/completions/{ran['logged'][name]['id']}")


def test_requests_come_back_as_the_program_sent_them(ran: dict[str, Any]) -> None:
    plain, vision = ran["logged"]["openai plain"]["request"], ran["logged"]["openai vision"]["request"]

    assert plain == {"model": "gpt-4o", "messages": [{"role": "user", "content": "plain"}]}
    assert vision["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert list(ran["logged"]["openai plain"]["stacktrace"][0]) == ["file", "line", "lineno", "name"]
