"""Uploads under an id of the client's own: repeated, they answer what is stored; with other content they are refused."""

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from log10_server.db.database import Database
from log10_server.services import completions, feedback_tasks
from log10_server.services.completions import Entry
from log10_server.services.feedback_tasks import NewFeedbackTask
from tests.conftest import Api, Organization, paths, problem

SELECTOR = "completion_tags_selector"
VALUES = {"a": 1, "b": {"c": [1, 2], "d": "e"}}

ODD_IDS = [
    "a", "-", "_", "~", "...", " ", "a b", " a ", "a:b", "a;b", "a&b=c", "a+b", "a%2Fb", "%", "%00", "a*b", "(x)", "{x}",
    "[x]", "'", '"', "<>", "|", "^", "`", "é", "e\u0301", "日本語", "💚", "\u200b", "\ufeff", "\ufffe", "\u2028", "None",
    "null", "true", "0", "-1", "1e5", "Ungraded", "batch ", "accept", "a" * 255, "é" * 127, "SELECT 1; --",
]  # fmt: skip
WRONG_IDS = [
    "", ".", "..", "ungraded", "batch", "a/b", "/", "a,b", "a?b", "a#b", "a\\b", "a\nb", "\t", "\0", "a\0", "\x7f",
    "\x85", "a" * 256, "é" * 128,
]  # fmt: skip


def content(task: str, **other: Any) -> dict[str, Any]:
    return {
        "id": "mine",
        "task_id": task,
        "json_values": VALUES,
        "comment": "c",
        SELECTOR: ["all", "greeting"],
        **other,
    }


def stored(api: Api) -> list[str]:
    return [item["id"] for item in api.get("/feedback").json()["feedback"]]


@pytest.fixture
def task(database: Database, organization: Organization) -> str:
    """A task that accepts any values, and two completions that it asks for, `one` and `two`."""
    with database.writing() as connection:
        tx = database.tx(connection, organization.id)
        completions.record(
            tx, [Entry(completion_id, {"tags": ["all", "greeting"]}) for completion_id in ("one", "two")]
        )
        return feedback_tasks.create(tx, NewFeedbackTask(None, "a task", "", "{}", ("greeting",))).id


@pytest.fixture
def first(api: Api, task: str) -> dict[str, Any]:
    """What the first upload under the id `mine` answered."""
    return dict(api.post("/feedback", json=content(task)).raise_for_status().json())


def again(api: Api, task: str, **other: Any) -> httpx.Response:
    return api.post("/feedback", json=content(task, **other))


# The same content


def test_a_repeated_upload_answers_what_is_stored(api: Api, task: str, first: dict[str, Any]) -> None:
    answer = again(api, task)

    assert (answer.status_code, answer.json()) == (200, first)
    assert stored(api) == ["mine"]


def test_values_are_compared_as_json_values(
    api: Api, task: str, first: dict[str, Any], subtests: pytest.Subtests
) -> None:
    for values in [
        '{"b":{"d":"e","c":[1,2]},"a":1}',
        '{ "a" : 1.0 , "b" : {"c":[1e0, 20e-1],"d":"\\u0065"}}',
        '{"a":10E-1,"b":{"c":[1.000,2],"d":"e"}}',
        '{"a":7,"a":1,"b":{"c":[1,2],"d":"e"}}',
    ]:
        with subtests.test(values=values):
            body = json.dumps(content(task, json_values="HERE")).replace('"HERE"', values)

            answer = api.post("/feedback", content=body)

            assert (answer.status_code, answer.json()) == (200, first)


def test_selectors_are_compared_as_sets(api: Api, task: str, first: dict[str, Any], subtests: pytest.Subtests) -> None:
    for selector in [["greeting", "all"], ["all", "greeting", "all"], ["greeting", "greeting", "all", "all"]]:
        with subtests.test(selector=selector):
            answer = again(api, task, completion_tags_selector=selector)

            assert (answer.status_code, answer.json()) == (200, first)


@pytest.mark.parametrize("ids", [["two", "one"], ["one", "two", "one"], ["one", "one", "two", "two"]])
def test_ids_are_compared_as_sets(api: Api, task: str, ids: list[str]) -> None:
    first = api.upload(task, id="mine", completion_ids=["one", "two"])

    assert api.upload(task, id="mine", completion_ids=ids) == first


def test_fields_that_are_not_content_do_not_make_an_upload_different(
    api: Api, task: str, first: dict[str, Any], subtests: pytest.Subtests
) -> None:
    cases: list[dict[str, Any]] = [
        {"completion_ids": []},
        {"completion_ids": None},
        {"max_matched_completions": 1},
        {"allow_unmatched_feedback": True},
        {"matched_completion_ids": ["x"]},
        {"unheard_of": 1},
    ]

    for other in cases:
        with subtests.test(other=other):
            answer = again(api, task, **other)

            assert (answer.status_code, answer.json()) == (200, first)


@pytest.mark.parametrize("comments", [(None, ""), ("", None)])
def test_no_comment_and_an_empty_one_are_the_same(api: Api, task: str, comments: tuple[str | None, str | None]) -> None:
    first, second = (again(api, task, comment=comment) for comment in comments)

    assert (second.status_code, second.json()) == (200, first.json())


def test_a_repeat_is_answered_after_the_task_was_archived(api: Api, task: str, first: dict[str, Any]) -> None:
    api.patch(f"/feedback_task/{task}", json={"archived": True})

    answer = again(api, task)

    assert (answer.status_code, answer.json()) == (200, first)


def test_a_repeat_is_answered_after_its_completions_were_deleted(api: Api, task: str, first: dict[str, Any]) -> None:
    api.delete("/completions/one")
    api.delete("/completions/two")

    answer = again(api, task)

    assert (answer.status_code, answer.json()) == (200, {**first, "matched_completion_ids": []})


def test_a_repeat_by_ids_is_answered_after_its_completions_were_deleted(api: Api, task: str) -> None:
    first = api.upload(task, id="mine", completion_ids=["one", "two"])
    api.delete("/completions/one")

    answer = api.upload(task, id="mine", completion_ids=["one", "two"])

    assert answer == {**first, "matched_completion_ids": ["two"]}


def test_a_repeat_matches_nothing_anew(api: Api, task: str, first: dict[str, Any]) -> None:
    api.completion(id="three", tags=["all", "greeting"])
    api.completion(id="one", tags=["other"])

    answer = again(api, task)

    assert (answer.status_code, answer.json()) == (200, first)
    assert api.ungraded() == ["three"]


def test_an_id_is_free_once_its_feedback_was_deleted(api: Api, task: str, first: dict[str, Any]) -> None:
    api.delete("/feedback/mine")

    answer = again(api, task, comment="another")

    assert answer.status_code == 200
    assert answer.json()["comment"] == "another"


# Other content


def test_other_content_under_the_same_id_is_refused(
    api: Api, task: str, first: dict[str, Any], subtests: pytest.Subtests
) -> None:
    cases: list[dict[str, Any]] = [
        {"json_values": {**VALUES, "a": 2}},
        {"json_values": {**VALUES, "a": "1"}},
        {"json_values": {**VALUES, "a": True}},
        {"json_values": {**VALUES, "a": 1.0000000000000002}},
        {"json_values": {**VALUES, "z": None}},
        {"json_values": {"a": 1, "b": {"c": [2, 1], "d": "e"}}},
        {"json_values": {"a": 1}},
        {"json_values": {}},
        {"comment": "C"},
        {"comment": "c "},
        {"comment": None},
        {SELECTOR: ["all"]},
        {SELECTOR: ["greeting", "all", "nothing"]},
        {SELECTOR: ["Greeting", "all"]},
        {SELECTOR: None, "completion_ids": ["two", "one"]},
        {SELECTOR: None, "completion_ids": ["greeting", "all"]},
        {SELECTOR: None, "completion_ids": ["nobody"]},
    ]

    for other in cases:
        with subtests.test(other=other):
            answer = again(api, task, **other)

            problem(answer, 409, "id_taken")
            assert api.get("/feedback/mine").json() == first


def test_numbers_that_only_a_double_confuses_are_other_content(api: Api, task: str) -> None:
    again(api, task, json_values={"a": 9007199254740993})

    answer = again(api, task, json_values={"a": 9007199254740992})

    problem(answer, 409, "id_taken")


def test_another_task_is_other_content(api: Api, task: str, first: dict[str, Any]) -> None:
    other = api.task(["greeting"])["id"]

    problem(again(api, other), 409, "id_taken")


def test_other_content_for_an_archived_task_is_still_a_conflict(api: Api, task: str, first: dict[str, Any]) -> None:
    api.patch(f"/feedback_task/{task}", json={"archived": True})

    problem(again(api, task, comment="another"), 409, "id_taken")


# Ids


def test_an_upload_without_an_id_is_stored_each_time(api: Api, task: str) -> None:
    ids = {api.upload(task, completion_ids=["one"])["id"] for _ in range(3)}

    assert len(ids) == 3
    assert set(stored(api)) == ids


def test_an_id_of_null_is_none(api: Api, task: str) -> None:
    assert api.upload(task, id=None, completion_ids=["one"])["id"] not in {None, "None"}


def test_an_odd_id_is_stored_read_repeated_and_deleted(api: Api, task: str, subtests: pytest.Subtests) -> None:
    for feedback_id in ODD_IDS:
        with subtests.test(id=feedback_id):
            path = "/feedback/" + quote(feedback_id, safe="")
            uploaded = api.upload(task, id=feedback_id, completion_ids=["one"])

            repeated = api.upload(task, id=feedback_id, completion_ids=["one"])
            read = api.get(path)
            gone = [api.delete(path).status_code, api.delete(path).status_code]

            assert uploaded["id"] == feedback_id
            assert repeated == uploaded
            assert read.json() == uploaded
            assert gone == [204, 404]


def test_an_invalid_id_is_refused(api: Api, task: str, subtests: pytest.Subtests) -> None:
    for feedback_id in WRONG_IDS:
        with subtests.test(id=feedback_id):
            assert paths(again(api, task, id=feedback_id)) == ["/id"]
            assert stored(api) == []


def test_an_id_of_another_type_is_refused(api: Api, task: str, subtests: pytest.Subtests) -> None:
    for feedback_id in [1, 1.5, True, [], {}, ["a"]]:
        with subtests.test(id=feedback_id):
            assert paths(again(api, task, id=feedback_id)) == ["/id"]


def test_ids_that_look_alike_are_different(api: Api, task: str) -> None:
    alike = ["a", "A", "a ", "á", "a\u0301", "\uff41"]

    for feedback_id in alike:
        api.upload(task, id=feedback_id, completion_ids=["one"], comment=repr(feedback_id))

    assert sorted(stored(api)) == sorted(alike)
