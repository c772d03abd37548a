"""Uploading feedback: what it is about, which values it may hold, and what is refused (docs/api.md, "Uploading feedback")."""

import json
from typing import Any

import httpx
import pytest

from log10_server.db.database import Database
from log10_server.services import completions, feedback_tasks
from log10_server.services.completions import Entry
from log10_server.services.feedback_tasks import NewFeedbackTask
from tests.conftest import Api, Organization, paths, problem

SELECTOR, IDS = "completion_tags_selector", "completion_ids"
MISSING = object()

GRADED = {
    "type": "object",
    "properties": {"grade": {"type": "integer", "minimum": 1, "maximum": 5}, "note": {"type": "string"}},
    "required": ["grade"],
}


def offered(api: Api, task: str, **fields: Any) -> httpx.Response:
    """The answer to an upload; what is MISSING is not sent."""
    body = {"task_id": task, "json_values": {}, **fields}
    return api.post("/feedback", json={name: value for name, value in body.items() if value is not MISSING})


def refused_code(answer: httpx.Response) -> Any:
    return problem(answer, 422)["code"]


def many(database: Database, organization: Organization, count: int) -> None:
    """`count` completions with the tag `many`."""
    with database.writing() as connection:
        tx = database.tx(connection, organization.id)
        completions.record(tx, [Entry(f"many-{number}", {"tags": ["many"]}) for number in range(count)])


@pytest.fixture
def task(database: Database, organization: Organization) -> str:
    """A task that accepts any values, and three completions: `one` and `two` tagged `greeting`, `three` tagged `other`."""
    tagged = {"one": "greeting", "two": "greeting", "three": "other"}
    with database.writing() as connection:
        tx = database.tx(connection, organization.id)
        completions.record(tx, [Entry(completion_id, {"tags": [tag, "all"]}) for completion_id, tag in tagged.items()])
        return feedback_tasks.create(tx, NewFeedbackTask(None, "a task", "", "{}", ("greeting",))).id


# A selector or ids: exactly one

EMPTY: list[Any] = [MISSING, None, []]


@pytest.mark.parametrize("ids", EMPTY)
def test_a_selector_beside_no_ids_is_what_the_feedback_is_about(api: Api, task: str, ids: Any) -> None:
    answer = offered(api, task, completion_tags_selector=["greeting"], completion_ids=ids)

    assert answer.status_code == 200, answer.text
    assert answer.json()["matched_completion_ids"] == ["two", "one"]


@pytest.mark.parametrize("selector", EMPTY)
def test_ids_beside_no_selector_are_what_the_feedback_is_about(api: Api, task: str, selector: Any) -> None:
    answer = offered(api, task, completion_tags_selector=selector, completion_ids=["one", "three"])

    assert answer.status_code == 200, answer.text
    assert answer.json()["matched_completion_ids"] == ["one", "three"]


def test_neither_or_both_of_a_selector_and_ids_is_refused(api: Api, task: str, subtests: pytest.Subtests) -> None:
    for allow in [MISSING, True]:
        for selector, ids in [
            (MISSING, MISSING),
            (None, MISSING),
            (MISSING, None),
            (None, None),
            ([], []),
            (["greeting"], ["one"]),
        ]:
            with subtests.test(allow=allow, selector=selector, ids=ids):
                answer = offered(
                    api, task, completion_tags_selector=selector, completion_ids=ids, allow_unmatched_feedback=allow
                )

                assert set(paths(answer)) == {"/" + SELECTOR, "/" + IDS}


def test_no_ids_at_all_are_refused_even_when_nothing_need_match(api: Api, task: str, subtests: pytest.Subtests) -> None:
    for allow in [MISSING, True]:
        for selector in [MISSING, None]:
            with subtests.test(allow=allow, selector=selector):
                answer = offered(
                    api, task, completion_tags_selector=selector, completion_ids=[], allow_unmatched_feedback=allow
                )

                assert paths(answer) == ["/" + IDS]


@pytest.mark.parametrize("ids", [MISSING, None])
def test_the_empty_selector_matches_nothing(api: Api, task: str, ids: Any) -> None:
    answer = offered(api, task, completion_tags_selector=[], completion_ids=ids)

    assert paths(answer, code="no_match") == ["/" + SELECTOR]


def test_a_member_of_the_wrong_type_is_refused_where_it_stands(api: Api, task: str, subtests: pytest.Subtests) -> None:
    cases: list[dict[str, Any]] = [
        {SELECTOR: "greeting"},
        {SELECTOR: {}},
        {SELECTOR: [1]},
        {SELECTOR: [None]},
        {SELECTOR: [["greeting"]]},
        {IDS: "one"},
        {IDS: {"0": "one"}},
        {IDS: [1]},
        {IDS: [None]},
        {SELECTOR: ["greeting"], "comment": 5},
        {SELECTOR: ["greeting"], "allow_unmatched_feedback": "true"},
        {SELECTOR: ["greeting"], "allow_unmatched_feedback": 1},
        {SELECTOR: ["greeting"], "json_values": []},
        {SELECTOR: ["greeting"], "json_values": "{}"},
        {SELECTOR: ["greeting"], "json_values": None},
        {SELECTOR: ["greeting"], "json_values": MISSING},
        {SELECTOR: ["greeting"], "task_id": None},
        {SELECTOR: ["greeting"], "task_id": MISSING},
        {SELECTOR: ["greeting"], "task_id": 5},
    ]

    for members in cases:
        with subtests.test(members=members):
            wrong = list(members)[-1]

            answer = offered(api, task, **members)

            assert [path.split("/")[1] for path in paths(answer)] == [wrong]


# What matches


def test_a_selector_matches_what_has_all_its_tags_newest_first(api: Api, task: str) -> None:
    matched = api.upload(task, completion_tags_selector=["all", "greeting"])["matched_completion_ids"]

    assert matched == ["two", "one"]


def test_ids_keep_their_order_and_each_counts_once(api: Api, task: str) -> None:
    matched = api.upload(task, completion_ids=["two", "three", "two", "one", "three"])["matched_completion_ids"]

    assert matched == ["two", "three", "one"]


def test_the_order_of_what_matched_is_read_back(api: Api, task: str) -> None:
    uploaded = api.upload(task, completion_ids=["two", "three", "one"])

    assert api.get(f"/feedback/{uploaded['id']}").json() == uploaded


def test_a_selector_that_matches_nothing_is_refused(api: Api, task: str, subtests: pytest.Subtests) -> None:
    for selector in [
        ["Greeting"],
        ["greeting "],
        ["greet"],
        ["greeting", "nobody has it"],
        ["all", "greeting", "nobody has it"],
        ["gre\u0301eting"],
    ]:
        with subtests.test(selector=selector):
            answer = offered(api, task, completion_tags_selector=selector)

            assert paths(answer, code="no_match") == ["/" + SELECTOR]


@pytest.mark.parametrize("allow", [None, False])
def test_nothing_may_be_unmatched_unless_it_is_allowed(api: Api, task: str, allow: bool | None) -> None:
    answer = offered(api, task, completion_tags_selector=["nothing"], allow_unmatched_feedback=allow)

    assert refused_code(answer) == "no_match"


@pytest.mark.parametrize("selector", [[], ["nothing"], ["greeting", "other"]])
def test_feedback_may_match_nothing_when_that_is_allowed(api: Api, task: str, selector: list[str]) -> None:
    uploaded = api.upload(task, completion_tags_selector=selector, allow_unmatched_feedback=True)

    assert uploaded["matched_completion_ids"] == []
    assert api.get(f"/feedback/{uploaded['id']}").json() == uploaded


def test_a_tag_that_only_a_refused_selector_named_does_not_come_to_be(api: Api, task: str) -> None:
    offered(api, task, completion_tags_selector=["never used"])

    answer = api.get(api.base_url.join("/api/tags/search"), params={"query": "never"})

    assert answer.json()["data"] == []


def test_unknown_ids_are_all_named_and_no_others(api: Api, task: str) -> None:
    answer = offered(api, task, completion_ids=["one", "nobody", "two", "no one"])

    body = problem(answer, 422, "unknown_completion")
    assert [error["path"] for error in body["errors"]] == ["/completion_ids/1", "/completion_ids/3"]
    assert "nobody" in body["errors"][0]["message"]
    assert "no one" in body["errors"][1]["message"]
    assert "'two'" not in answer.text


def test_unknown_ids_are_refused_even_when_nothing_need_match(api: Api, task: str) -> None:
    answer = offered(api, task, completion_ids=["nobody"], allow_unmatched_feedback=True)

    assert refused_code(answer) == "unknown_completion"


def test_a_deleted_completion_is_an_unknown_id(api: Api, task: str) -> None:
    api.delete("/completions/one")

    assert paths(offered(api, task, completion_ids=["one"]), code="unknown_completion") == ["/completion_ids/0"]


def test_an_id_that_was_given_out_but_has_no_row_is_unknown(api: Api, task: str) -> None:
    reserved_id = api.post(api.base_url.join("/api/completions"), json={}).json()["completionID"]

    assert refused_code(offered(api, task, completion_ids=[reserved_id])) == "unknown_completion"


# How many may match


def test_a_limit_of_matches_that_is_no_whole_number_from_1_is_refused(
    api: Api, task: str, subtests: pytest.Subtests
) -> None:
    for most in [0, -1, -(10**30), 1.5, "5", True, [], {}]:
        with subtests.test(most=most):
            answer = offered(api, task, completion_tags_selector=["greeting"], max_matched_completions=most)

            assert paths(answer) == ["/max_matched_completions"]


def test_as_many_may_match_as_the_limit_says(api: Api, task: str, subtests: pytest.Subtests) -> None:
    for most in [MISSING, None, 2, 100, 10_000, 10_001, 2**63, 10**30]:
        with subtests.test(most=most):
            answer = offered(api, task, completion_tags_selector=["greeting"], max_matched_completions=most)

            assert answer.status_code == 200, answer.text


def test_the_limit_of_matches_is_not_for_ids(api: Api, task: str) -> None:
    answer = offered(api, task, completion_ids=["one", "two"], max_matched_completions=1)

    assert answer.status_code == 200, answer.text


def test_100_may_match_unless_more_are_allowed(
    api: Api, task: str, database: Database, organization: Organization
) -> None:
    many(database, organization, 100)

    assert len(api.upload(task, completion_tags_selector=["many"])["matched_completion_ids"]) == 100


@pytest.mark.parametrize(
    ("count", "at_most", "count_in_message"),
    [
        (2, 1, "2"),
        (101, MISSING, "101"),
        (1000, 999, "1000"),
        (1001, 5, "more than 1000"),
        (1500, 1000, "more than 1000"),
    ],
)
def test_too_many_matches_are_refused_and_counted(
    api: Api, task: str, database: Database, organization: Organization, count: int, at_most: Any, count_in_message: str
) -> None:
    many(database, organization, count)

    answer = offered(api, task, completion_tags_selector=["many"], max_matched_completions=at_most)

    assert paths(answer, code="too_many_matches") == ["/" + SELECTOR]
    assert f"matches {count_in_message} completions" in answer.json()["detail"]


def test_a_limit_above_the_highest_means_the_highest(
    api: Api, task: str, database: Database, organization: Organization
) -> None:
    many(database, organization, 1001)

    answer = offered(api, task, completion_tags_selector=["many"], max_matched_completions=10**30)

    assert refused_code(answer) == "too_many_matches"
    assert "more than 1000" in answer.json()["detail"]


# The task, the comment, the values


def test_an_unknown_task_is_refused_at_its_place(api: Api, task: str, subtests: pytest.Subtests) -> None:
    for unknown_id in ["nobody", "", " ", "a/b", "x" * 5000, "'; --", "💥"]:
        with subtests.test(id=unknown_id):
            answer = offered(api, unknown_id, completion_ids=["one"])

            assert paths(answer, code="unknown_task") == ["/task_id"]


def test_every_upload_to_a_task_is_validated(api: Api, task: str) -> None:
    """The server caches the schema at the first upload. The answer must not depend on that."""
    graded = api.task([], schema=GRADED)["id"]

    statuses = [
        offered(api, graded, completion_ids=["one"], json_values={"grade": grade}).status_code for grade in (9, 5, 9, 5)
    ]

    assert statuses == [422, 200, 422, 200]


def test_an_archived_task_takes_no_new_feedback(api: Api, task: str) -> None:
    api.patch(f"/feedback_task/{task}", json={"archived": True})

    answer = offered(api, task, completion_ids=["one"])

    assert paths(answer, code="task_archived") == ["/task_id"]


@pytest.mark.parametrize("comment", [MISSING, None, ""])
def test_no_comment_is_an_empty_one(api: Api, task: str, comment: Any) -> None:
    answer = offered(api, task, completion_ids=["one"], comment=comment)

    assert answer.json()["comment"] == ""


def test_a_comment_is_kept_exactly(api: Api, task: str, subtests: pytest.Subtests) -> None:
    for comment in [" ", "a\nb\tc", "\u007f\u2028\ufffe", "💬 é", "null", "x" * (1 << 20)]:
        with subtests.test(comment=comment):
            uploaded = api.upload(task, completion_ids=["one"], comment=comment)

            assert api.get(f"/feedback/{uploaded['id']}").json()["comment"] == comment


def test_a_comment_that_no_column_can_hold_is_refused(api: Api, task: str, subtests: pytest.Subtests) -> None:
    for comment in ["a\0b", "\0", "x" * ((1 << 20) + 1), "é" * ((1 << 19) + 1)]:
        with subtests.test(comment=comment):
            answer = offered(api, task, completion_ids=["one"], comment=comment)

            assert paths(answer) == ["/comment"]


def test_a_lone_surrogate_in_a_text_is_refused_where_it_stands(api: Api, task: str, subtests: pytest.Subtests) -> None:
    for half in ["\\ud83d", "x\\udc00y"]:
        for member, path in [
            ('"comment":"%s"', "/comment"),
            ('"id":"%s"', "/id"),
            ('"task_id":"%s"', "/task_id"),
            ('"completion_ids":["one","%s"]', "/completion_ids/1"),
            ('"completion_ids":null,"completion_tags_selector":["%s"]', "/completion_tags_selector/0"),
        ]:
            with subtests.test(half=half, member=member, path=path):
                body = f'{{"task_id":"{task}","json_values":{{}},"completion_ids":["one"],{member % half}}}'

                answer = api.post("/feedback", content=body.encode())

                assert paths(answer) == [path]


def test_what_a_client_says_has_matched_is_ignored(api: Api, task: str, subtests: pytest.Subtests) -> None:
    for sent in [None, [], ["three"], "x", 5, {"a": 1}, [None]]:
        with subtests.test(sent=sent):
            uploaded = api.upload(task, completion_ids=["one"], matched_completion_ids=sent)

            assert uploaded["matched_completion_ids"] == ["one"]


def test_what_the_server_says_is_ignored_in_an_upload(api: Api, task: str, subtests: pytest.Subtests) -> None:
    for member in ["organization_id", "created_at_ms", "completions_summary", "unheard_of"]:
        with subtests.test(member=member):
            uploaded = api.upload(task, completion_ids=["one"], **{member: "" if member == "organization_id" else 5})

            assert uploaded["organization_id"] == api.organization.id
            assert uploaded["created_at_ms"] > 5
            assert uploaded["completions_summary"] == "1 completion"


def test_values_come_back_as_they_were_given(api: Api, task: str, subtests: pytest.Subtests) -> None:
    for values in [
        '{"b":1,"a":2,"c":{"z":null,"y":[null]}}',
        '{"big":123456789012345678901234567890,"small":1e-300,"exact":1.10,"power":1E2,"zero":-0.0}',
        '{"nul":"\\u0000","half":"\\ud83d","name \\u0000":1}',
        '{"e":"\u00e9","emoji":"💚","line":"\u2028"}',
        "{}",
    ]:
        with subtests.test(values=values):
            body = f'{{"task_id":"{task}","completion_ids":["one"],"json_values":{values}}}'

            uploaded = api.post("/feedback", content=body.encode())
            read = api.get(f"/feedback/{uploaded.json()['id']}")

            assert f'"json_values":{values},' in uploaded.text
            assert read.text == uploaded.text


def test_a_number_beyond_a_double_is_refused_where_it_stands(api: Api, task: str, subtests: pytest.Subtests) -> None:
    for number in ["1e400", "-1e400", "9" * 4001]:
        with subtests.test(number=number):
            body = f'{{"task_id":"{task}","completion_ids":["one"],"json_values":{{"a":[1,{number}]}}}}'

            answer = api.post("/feedback", content=body.encode())

            assert paths(answer) == ["/json_values/a/1"]


def test_the_schema_refuses_values_with_every_failure_where_it_stands(api: Api, task: str) -> None:
    schema = {
        "type": "object",
        "properties": {
            "grade": {"type": "integer", "maximum": 5},
            "a/b~c": {"type": "string"},
            "list": {"items": {"type": "number"}},
        },
        "required": ["absent"],
    }
    strict = api.task(["greeting"], schema)["id"]
    values = {"grade": 9, "a/b~c": 1, "list": [1, "x", 2, "y"]}

    answer = offered(api, strict, completion_ids=["one"], json_values=values)

    assert set(paths(answer, code="values_refused")) == {
        "/json_values",
        "/json_values/a~1b~0c",
        "/json_values/grade",
        "/json_values/list/1",
        "/json_values/list/3",
    }


@pytest.mark.parametrize("values", [{"grade": 0}, {"grade": 6}, {"grade": "5"}, {"grade": None}, {}, {"note": "x"}])
def test_a_refused_upload_leaves_nothing_behind(api: Api, task: str, values: dict[str, Any]) -> None:
    strict = api.task(["greeting"], GRADED)["id"]

    answer = offered(api, strict, id="mine", completion_tags_selector=["greeting"], json_values=values)

    assert answer.status_code == 422
    assert api.get("/feedback/mine").status_code == 404
    assert api.get("/feedback").json() == {"feedback": []}
    assert api.ungraded(task_id=strict) == ["two", "one"]


@pytest.mark.parametrize(
    "fields", [{SELECTOR: ["nothing"]}, {SELECTOR: ["all"], "max_matched_completions": 2}, {IDS: ["one", "nobody"]}]
)
def test_an_id_of_a_refused_upload_is_still_free(api: Api, task: str, fields: dict[str, Any]) -> None:
    refused = offered(api, task, id="mine", **fields)

    assert refused.status_code == 422
    assert api.ungraded() == ["two", "one"]
    assert api.upload(task, id="mine", completion_ids=["three"])["matched_completion_ids"] == ["three"]


@pytest.mark.parametrize("values", ["[]", "5", "null", '"{}"', "true"])
def test_values_are_an_object_whatever_the_schema_says(api: Api, task: str, values: str) -> None:
    answer = offered(api, task, completion_ids=["one"], json_values=json.loads(values))

    assert paths(answer) == ["/json_values"]
