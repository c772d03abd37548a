"""Feedback tasks: made, repeated, listed, changed and archived (docs/api.md, "The versioned API", "Uploading feedback", "Task schemas", "Lists")."""

import json
import time
from typing import Any

import httpx
import pytest

from log10_server.db.database import Database
from log10_server.services import completions, feedback_tasks
from log10_server.services.completions import Entry
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.store.ungraded import list_unfinished_backfills
from tests.conftest import Api, paths, problem

SELECTOR = "completion_tags_selector"
MISSING = object()

SPELLED = (
    '{"type":"object","properties":{"z":{"type":"string","multi":{"rows":5}},"a":{"type":"number","default":null,'
    '"maximum":1.50,"minimum":-1E2},"n":{"const":123456789012345678901234567890,"title":"\\u0000 \\ud83d"}},'
    '"required":[],"multi":true,"x-order":["z","a",null]}'
)


def made(api: Api, **fields: Any) -> httpx.Response:
    """The answer to a new task; what is MISSING is not sent."""
    body = {"name": "quality", "json_schema": {}, **fields}
    return api.post("/feedback_task", json={name: value for name, value in body.items() if value is not MISSING})


def changed(api: Api, task: str, **fields: Any) -> dict[str, Any]:
    answer = api.patch(f"/feedback_task/{task}", json=fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def listed(api: Api, **query: Any) -> list[str]:
    answer = api.get("/feedback_task", params=query)
    assert answer.status_code == 200, answer.text
    return [task["id"] for task in answer.json()]


# Made


def test_a_task_says_all_its_fields(api: Api) -> None:
    task = made(api, id="mine", instruction="Be fair.", json_schema={"type": "object"}, completion_tags_selector=["b"])

    assert task.json() == {
        "id": "mine",
        "organization_id": api.organization.id,
        "created_at_ms": task.json()["created_at_ms"],
        "name": "quality",
        "instruction": "Be fair.",
        "json_schema": {"type": "object"},
        SELECTOR: ["b"],
        "archived": False,
    }
    assert api.get("/feedback_task/mine").text == task.text


@pytest.mark.parametrize("instruction", [MISSING, None, ""])
def test_no_instruction_is_an_empty_one(api: Api, instruction: Any) -> None:
    assert made(api, instruction=instruction).json()["instruction"] == ""


@pytest.mark.parametrize("selector", [MISSING, None, {}, []])
def test_no_selector_is_an_empty_list(api: Api, selector: Any) -> None:
    api.completion(tags=["a"])

    task = made(api, completion_tags_selector=selector)

    assert task.json()[SELECTOR] == []
    assert api.ungraded() == []


@pytest.mark.parametrize(
    ("sent", "answered"),
    [(["b", "a"], ["b", "a"]), (["b", "a", "b", "B", "a"], ["b", "a", "B"]), (["é", "e\u0301"],) * 2],
)
def test_a_selector_keeps_its_order_and_each_tag_once(api: Api, sent: list[str], answered: list[str]) -> None:
    assert made(api, completion_tags_selector=sent).json()[SELECTOR] == answered


def test_what_is_no_selector_is_refused(api: Api, subtests: pytest.Subtests) -> None:
    for selector in ["a", 5, True, {"a": 1}, [1], [None], ["a", {}], ["a\0b"], ["x" * 8193], ["a"] * 101]:
        with subtests.test(selector=selector):
            assert paths(made(api, completion_tags_selector=selector))[0].startswith("/" + SELECTOR)


def test_a_selector_may_be_as_large_as_the_limits_allow(api: Api) -> None:
    tags = [f"{number:03}" + "x" * 8189 for number in range(100)]
    completion = api.completion(tags=[*tags, "one more"])

    task = made(api, completion_tags_selector=tags).json()

    assert task[SELECTOR] == tags
    assert api.ungraded(task_id=task["id"]) == [completion["id"]]


def test_a_schema_comes_back_as_it_was_given(api: Api) -> None:
    answer = api.post("/feedback_task", content=f'{{"name":"a","json_schema": {SPELLED} }}'.encode())

    assert f'"json_schema":{SPELLED},' in answer.text
    assert api.get(f"/feedback_task/{answer.json()['id']}").text == answer.text
    assert api.get("/feedback_task").text == f"[{answer.text}]"


def test_a_wrong_member_is_refused_where_it_stands(api: Api, subtests: pytest.Subtests) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"name": MISSING}, "/name"),
        ({"name": None}, "/name"),
        ({"name": 5}, "/name"),
        ({"name": "a\0"}, "/name"),
        ({"name": "é" * 2049}, "/name"),
        ({"instruction": 5}, "/instruction"),
        ({"instruction": "x" * ((1 << 20) + 1)}, "/instruction"),
        ({"json_schema": MISSING}, "/json_schema"),
        ({"json_schema": None}, "/json_schema"),
        ({"json_schema": []}, "/json_schema"),
        ({"json_schema": True}, "/json_schema"),
        ({"json_schema": "{}"}, "/json_schema"),
        ({"id": "a/b"}, "/id"),
        ({"id": 5}, "/id"),
    ]

    for members, path in cases:
        with subtests.test(members=members, path=path):
            assert paths(made(api, **members)) == [path]
            assert listed(api) == []


def test_an_invalid_schema_is_refused_with_the_path_of_its_error(api: Api) -> None:
    answer = made(api, json_schema={"properties": {"x": {"type": "colour"}}})

    assert paths(answer, code="invalid_schema") == ["/json_schema/properties/x/type"]


# Repeated

TASK: dict[str, Any] = {
    "id": "mine",
    "name": "n",
    "instruction": "i",
    "json_schema": {"type": "object", "maxProperties": 1},
    SELECTOR: ["a", "b"],
}


@pytest.mark.parametrize(
    "other",
    [
        {},
        {SELECTOR: ["b", "a", "b"]},
        {"json_schema": {"maxProperties": 1.0, "type": "object"}},
        {"unheard_of": 1},
        {"created_at_ms": 5, "archived": True},
    ],
)
def test_a_repeated_task_answers_the_one_that_is_stored(api: Api, other: dict[str, Any]) -> None:
    first = made(api, **TASK)

    second = made(api, **{**TASK, **other})

    assert (second.status_code, second.text) == (200, first.text)
    assert listed(api) == ["mine"]


@pytest.mark.parametrize(
    "other",
    [
        {"name": "N"},
        {"instruction": None},
        {SELECTOR: ["a"]},
        {SELECTOR: None},
        {"json_schema": {"type": "object"}},
        {"json_schema": {"type": "object", "maxProperties": 2}},
    ],
)
def test_other_content_under_the_id_of_a_task_is_refused(api: Api, other: dict[str, Any]) -> None:
    first = made(api, **TASK)

    second = made(api, **{**TASK, **other})

    problem(second, 409, "id_taken")
    assert api.get("/feedback_task/mine").text == first.text


def test_a_repeat_answers_a_task_as_it_has_become(api: Api) -> None:
    made(api, **TASK)
    now = changed(api, "mine", name="new", completion_tags_selector=["c"], archived=True)

    assert made(api, **TASK).json() == now


# CompletionList


def test_tasks_are_listed_newest_first(api: Api) -> None:
    for completion_id in ("b", "a", "c"):
        api.task([], id=completion_id)

    assert listed(api) == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"limit": 2}, ["4", "3"]),
        ({"offset": 3}, ["1", "0"]),
        ({"offset": 1, "limit": 2}, ["3", "2"]),
        ({"offset": 5}, []),
        ({"offset": 10**30, "limit": 10**30}, []),
        ({"limit": 1001}, ["4", "3", "2", "1", "0"]),
        ({"limit": "", "offset": "None", "archived": " "}, ["4", "3", "2", "1", "0"]),
        ({"archived": "true"}, ["3", "1"]),
        ({"archived": "false", "limit": 2}, ["4", "2"]),
    ],
)
def test_tasks_are_paged_and_filtered(api: Api, query: dict[str, Any], ids: list[str]) -> None:
    for number in range(5):
        api.task([], id=str(number))
    for completion_id in ("1", "3"):
        changed(api, completion_id, archived=True)

    assert listed(api, **query) == ids


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=abc", "limit=1.5", "offset=-1", "archived=yes", "total=2"]
)
def test_a_query_of_tasks_that_cannot_be_read_is_refused(api: Api, query: str) -> None:
    assert paths(api.get(f"/feedback_task?{query}")) == ["/query/" + query.partition("=")[0]]


@pytest.mark.parametrize(
    ("query", "total"),
    [({}, None), ({"total": "false"}, None), ({"total": "true"}, "3"), ({"total": "1", "offset": 2, "limit": 1}, "3"),
     ({"total": "true", "archived": "true"}, "1"), ({"total": "true", "offset": 9}, "3")],
)  # fmt: skip
def test_tasks_are_counted_on_request(api: Api, query: dict[str, Any], total: str | None) -> None:
    for number in range(3):
        api.task([], id=str(number))
    changed(api, "1", archived=True)

    assert api.get("/feedback_task", params=query).headers.get("X-Total-Count") == total


def test_a_task_that_is_not_there_is_not_found(api: Api) -> None:
    problem(api.get("/feedback_task/nobody"), 404, "not_found")
    problem(api.patch("/feedback_task/nobody", json={"name": "x"}), 404, "not_found")


# Changed


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "new"), ("instruction", "new"), (SELECTOR, ["c", "a"]), (SELECTOR, []), ("archived", True)],
)
def test_a_change_of_one_field_leaves_the_others(api: Api, field: str, value: Any) -> None:
    task = made(api, **TASK).json()

    answer = changed(api, "mine", **{field: value})

    assert answer == {**task, field: value}
    assert api.get("/feedback_task/mine").json() == answer


@pytest.mark.parametrize(
    "changes",
    [{}, dict.fromkeys(["name", "instruction", SELECTOR, "archived", "json_schema"]), {"id": "x", "created_at_ms": 1}],
)
def test_what_is_left_out_or_null_stays(api: Api, changes: dict[str, Any]) -> None:
    task = made(api, **TASK).json()

    assert changed(api, "mine", **changes) == task


@pytest.mark.parametrize("spelled", ['{"type":"object","maxProperties":1}', '{"maxProperties" : 1e0, "type":"object"}'])
def test_the_same_schema_is_no_change(api: Api, spelled: str) -> None:
    task = made(api, **TASK).json()

    answer = api.patch("/feedback_task/mine", content=f'{{"json_schema":{spelled},"name":"new"}}')

    assert answer.json() == {**task, "name": "new"}


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"type": "colour"}, {"a": 1e300}])
def test_another_schema_is_refused_and_nothing_changes(api: Api, schema: dict[str, Any]) -> None:
    task = made(api, **TASK).json()

    answer = api.patch("/feedback_task/mine", json={"name": "new", "json_schema": schema})

    assert "Create another task" in problem(answer, 409, "schema_is_fixed")["detail"]
    assert api.get("/feedback_task/mine").json() == task


@pytest.mark.parametrize(
    "changes",
    [{"name": 5}, {"instruction": []}, {SELECTOR: "a"}, {SELECTOR: [1]}, {"archived": "true"}, {"json_schema": []}],
)
def test_a_change_of_the_wrong_type_is_refused(api: Api, changes: dict[str, Any]) -> None:
    made(api, **TASK)

    answer = api.patch("/feedback_task/mine", json=changes)

    assert paths(answer)[0].startswith("/" + next(iter(changes)))


# Archived tasks, and what is ungraded


def test_an_archived_task_makes_no_completion_ungraded(api: Api) -> None:
    task = api.task(["a"])["id"]
    before = api.completion(tags=["a"])["id"]
    ungraded_before = api.ungraded()

    changed(api, task, archived=True)
    api.completion(tags=["a"])

    assert ungraded_before == [before]
    assert api.ungraded() == []
    assert api.ungraded(task_id=task) == []


def test_a_task_that_is_taken_out_of_the_archive_asks_again(api: Api) -> None:
    task = api.task(["a"])["id"]
    graded, before = (api.completion(tags=["a"])["id"] for _ in range(2))
    api.upload(task, completion_ids=[graded])
    changed(api, task, archived=True)
    later = api.completion(tags=["a"])["id"]

    changed(api, task, archived=False)

    assert api.ungraded() == [later, before]
    assert api.upload(task, completion_ids=[later])["matched_completion_ids"] == [later]


def test_the_feedback_of_an_archived_task_stays(api: Api) -> None:
    task = api.task(["a"])["id"]
    api.completion(id="one", tags=["a"])
    uploaded = api.upload(task, completion_ids=["one"])

    changed(api, task, archived=True)

    assert api.get("/feedback", params={"task_id": task}).json() == {"feedback": [uploaded]}
    assert api.get(f"/feedback/{uploaded['id']}").json() == uploaded


def test_feedback_deleted_from_an_archived_task_is_asked_for_once_it_is_taken_out(api: Api) -> None:
    task = api.task(["a"])["id"]
    api.completion(id="one", tags=["a"])
    uploaded = api.upload(task, completion_ids=["one"])
    changed(api, task, archived=True)
    api.delete(f"/feedback/{uploaded['id']}")
    while_archived = api.ungraded()

    changed(api, task, archived=False)

    assert while_archived == []
    assert api.ungraded() == ["one"]


def test_another_selector_asks_for_other_completions_and_keeps_what_is_graded(api: Api) -> None:
    task = api.task(["a"])["id"]
    for completion_id, tags in (("a", ["a"]), ("ab", ["a", "b"]), ("b", ["b"]), ("b too", ["b"])):
        api.completion(id=completion_id, tags=tags)
    api.upload(task, completion_ids=["b"])
    first = api.ungraded()

    changed(api, task, completion_tags_selector=["b"])
    second = api.ungraded()
    changed(api, task, completion_tags_selector=["a"])

    assert first == ["ab", "a"]
    assert second == ["b too", "ab"]
    assert api.ungraded() == first


def test_a_selector_that_changes_with_the_archive_asks_for_nothing(api: Api) -> None:
    task = api.task(["a"])["id"]
    api.completion(tags=["b"])

    changed(api, task, completion_tags_selector=["b"], archived=True)

    assert api.ungraded() == []


@pytest.mark.parametrize("is_new", [True, False], ids=["created", "changed"])
def test_the_server_indexes_older_completions_as_soon_as_a_task_asks_for_them(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    """Nothing else than that wakes the background loop here; by itself it looks for work every 30 seconds."""
    monkeypatch.setattr(database.thresholds, "backfill_batch_size", 1)
    with database.writing() as connection:
        tx = database.tx(connection, api.organization.id)
        completions.record(tx, [Entry(completion_id, {"tags": ["a"]}) for completion_id in "abcde"])
        if not is_new:
            feedback_tasks.create(tx, NewFeedbackTask("task", "a task", "", "{}", ()))

    if is_new:
        api.task(["a"], id="task")
    else:
        changed(api, "task", completion_tags_selector=["a"])

    give_up = time.monotonic() + 20
    while unfinished := database.read(lambda connection: list_unfinished_backfills(connection, 1)):
        assert time.monotonic() < give_up, unfinished
        time.sleep(0.02)
    assert api.ungraded() == list("edcba")


def test_the_schema_of_a_change_is_not_read_twice(api: Api) -> None:
    """Its spelling stays the first one: what a client stored comes back exactly (docs/api.md, "Completions")."""
    answer = api.post("/feedback_task", content=b'{"name":"n","json_schema":{"a":1.0,"b":[]}}')

    api.patch(f"/feedback_task/{answer.json()['id']}", content=b'{"json_schema":{"b":[],"a":1}}')

    assert '{"a":1.0,"b":[]}' in api.get("/feedback_task").text
    assert json.loads(answer.text)["json_schema"] == {"a": 1, "b": []}
