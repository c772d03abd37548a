"""Ungraded completions: those that match the selector of a task and have no feedback for it (docs/api.md, "Ungraded completions")."""

from typing import Any

import pytest

from tests.conftest import Api, paths


def test_nothing_is_ungraded_without_a_task(api: Api) -> None:
    api.completion(tags=["a"])

    assert api.get("/completions/ungraded").json() == {"completions": []}


def test_an_ungraded_completion_is_listed_with_all_its_fields(api: Api) -> None:
    api.task(["a"])
    completion = api.completion(id="one", tags=["a"], request={"model": "m"}, duration=0.5)

    assert api.get("/completions/ungraded").json() == {"completions": [completion]}


def test_the_newest_come_first_and_each_once_whatever_the_tasks(api: Api) -> None:
    for selector in (["a"], ["a", "b"], ["b"]):
        api.task(selector)
    for completion_id, tags in (("z", ["a"]), ("y", ["a", "b"]), ("none", ["c"]), ("x", ["b"])):
        api.completion(id=completion_id, tags=tags)

    assert api.ungraded() == ["x", "y", "z"]


def test_a_later_row_does_not_make_a_completion_newer(api: Api) -> None:
    api.task(["a"])
    api.completion(id="first", tags=["a"])
    api.completion(id="second", tags=["a"])
    api.completion(id="first", tags=["b", "a"])

    assert api.ungraded() == ["second", "first"]


@pytest.mark.parametrize(
    ("task", "ids"),
    [
        ("1", ["both", "one"]),
        ("2", ["both"]),
        ("nobody", []),
        ("", ["both", "one"]),
        ("None", ["both", "one"]),
        ("💥", []),
    ],
)
def test_a_task_narrows_what_is_listed(api: Api, task: str, ids: list[str]) -> None:
    api.task(["a"], id="1")
    api.task(["a", "b"], id="2")
    api.completion(id="one", tags=["a"])
    api.completion(id="both", tags=["a", "b"])

    assert api.ungraded(task_id=task) == ids


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"limit": 2}, ["4", "3"]),
        ({"offset": 2, "limit": 2}, ["2", "1"]),
        ({"offset": 4}, ["0"]),
        ({"offset": 5}, []),
        ({"offset": 10**30}, []),
        ({"limit": 10**30}, ["4", "3", "2", "1", "0"]),
        ({"offset": "", "limit": "None"}, ["4", "3", "2", "1", "0"]),
        ({"task_id": "1", "offset": 1, "limit": 1}, ["3"]),
    ],
)
def test_what_is_ungraded_is_paged(api: Api, query: dict[str, Any], ids: list[str]) -> None:
    api.task(["a"], id="1")
    api.task(["a", "a"], id="2")
    for number in range(5):
        api.completion(id=str(number), tags=["a"])

    assert api.ungraded(**query) == ids


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=x", "limit=1e3", "offset=-1", "offset=1.5", "task_id=%00"]
)
def test_a_query_that_cannot_be_read_is_refused(api: Api, query: str) -> None:
    assert paths(api.get(f"/completions/ungraded?{query}")) == ["/query/" + query.partition("=")[0]]


def test_a_task_made_later_counts_for_old_completions(api: Api) -> None:
    api.completion(id="one", tags=["b", "a", "c"])

    api.task(["c", "a"])

    assert api.ungraded() == ["one"]


def test_a_task_with_an_empty_selector_wants_nothing(api: Api) -> None:
    api.completion(tags=["a"])
    api.completion()

    api.task([])

    assert api.ungraded() == []


@pytest.mark.parametrize("row", [{"tags": ["b", "a"]}, {"tags": ["a"]}])
def test_tags_added_later_count(api: Api, row: dict[str, Any]) -> None:
    api.task(["a"])
    api.completion(id="one", tags=["b"])

    api.completion(id="one", **row)

    assert api.ungraded() == ["one"]


@pytest.mark.parametrize("tags", [[], ["b"], ["A"]])
def test_a_completion_that_loses_the_tags_is_no_longer_ungraded(api: Api, tags: list[str]) -> None:
    api.task(["a"])
    api.completion(id="one", tags=["a"])

    api.completion(id="one", tags=tags)

    assert api.ungraded() == []


def test_a_row_without_tags_changes_nothing(api: Api) -> None:
    api.task(["a"])
    api.completion(id="one", tags=["a"], status="started")

    api.completion(id="one", response={}, tags=None)

    assert api.ungraded() == ["one"]


def test_feedback_takes_what_it_matched_from_the_list(api: Api) -> None:
    task = api.task(["a"])["id"]
    for completion_id in ("one", "two", "three"):
        api.completion(id=completion_id, tags=["a"])

    api.upload(task, completion_ids=["one", "three"])

    assert api.ungraded() == ["two"]


def test_feedback_for_one_task_leaves_what_another_wants(api: Api) -> None:
    first, second = api.task(["a"])["id"], api.task(["a"])["id"]
    api.completion(id="one", tags=["a"])

    api.upload(first, completion_ids=["one"])

    assert api.ungraded() == ["one"]
    assert api.ungraded(task_id=first) == []
    assert api.ungraded(task_id=second) == ["one"]


def test_feedback_that_matched_nothing_grades_nothing(api: Api) -> None:
    task = api.task(["a"])["id"]
    api.completion(id="one", tags=["a"])

    api.upload(task, completion_tags_selector=["b"], allow_unmatched_feedback=True)

    assert api.ungraded() == ["one"]


def test_feedback_counts_for_a_completion_that_the_selector_matches_only_later(api: Api) -> None:
    task = api.task(["a"])["id"]
    api.completion(id="one", tags=["b"])
    api.upload(task, completion_ids=["one"])

    api.completion(id="one", tags=["a"])

    assert api.ungraded() == []


def test_feedback_stays_matched_when_tags_change_and_come_back(api: Api) -> None:
    task = api.task(["a"])["id"]
    api.completion(id="one", tags=["a"])
    uploaded = api.upload(task, completion_tags_selector=["a"])

    api.completion(id="one", tags=["b"])
    without = api.get(f"/feedback/{uploaded['id']}").json()
    api.completion(id="one", tags=["a"])

    assert without == uploaded
    assert api.ungraded() == []


def test_a_new_completion_with_the_tags_of_old_feedback_is_ungraded(api: Api) -> None:
    task = api.task(["a"])["id"]
    api.completion(id="one", tags=["a"])
    api.upload(task, completion_tags_selector=["a"])

    api.completion(id="two", tags=["a"])

    assert api.ungraded() == ["two"]


def test_a_deleted_completion_is_not_ungraded(api: Api) -> None:
    api.task(["a"])
    api.completion(id="one", tags=["a"])

    api.delete("/completions/one")

    assert api.ungraded() == []


def test_a_completion_made_anew_is_ungraded_again(api: Api) -> None:
    task = api.task(["a"])["id"]
    api.completion(id="one", tags=["a"])
    uploaded = api.upload(task, completion_ids=["one"])
    api.delete("/completions/one")

    api.completion(id="one", tags=["a"])

    assert api.ungraded() == ["one"]
    assert api.get(f"/feedback/{uploaded['id']}").json()["matched_completion_ids"] == []


def test_deleted_feedback_leaves_its_completions_ungraded(api: Api) -> None:
    task = api.task(["a"])["id"]
    for completion_id, tags in (("one", ["a"]), ("two", ["a", "b"]), ("other", ["b"])):
        api.completion(id=completion_id, tags=tags)
    uploaded = api.upload(task, completion_ids=["two", "other", "one"])

    api.delete(f"/feedback/{uploaded['id']}")

    assert api.ungraded() == ["two", "one"]


def test_what_other_feedback_grades_stays_graded_when_feedback_is_deleted(api: Api) -> None:
    task, other = api.task(["a"])["id"], api.task(["a"])["id"]
    for completion_id in ("one", "two"):
        api.completion(id=completion_id, tags=["a"])
    uploaded = api.upload(task, completion_ids=["one", "two"])
    api.upload(task, completion_ids=["two"])
    api.upload(other, completion_ids=["one", "two"])

    api.delete(f"/feedback/{uploaded['id']}")

    assert api.ungraded() == ["one"]


@pytest.mark.parametrize(
    "tags", [["[x/y 1]", " ", "💚"], ["é", "e\u0301"], ["x" * 8192, "x" * 8191], ["'; --", '"', "%"]]
)
def test_odd_tags_are_compared_exactly(api: Api, tags: list[str]) -> None:
    api.task(tags)
    api.completion(id="some", tags=tags[:-1])
    api.completion(id="all", tags=[*reversed(tags), "more"])

    assert api.ungraded() == ["all"]
