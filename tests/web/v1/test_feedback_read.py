"""Reading, listing and deleting feedback, and the one-line summary of what was graded (docs/api.md, "The versioned API", "Envelopes", "Lists")."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from log10_server.db.database import Database
from log10_server.services import completions, feedback, feedback_tasks
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.services.selectors import CompletionList
from tests.conftest import Api, Organization, paths, problem

# The id of each feedback, the oldest first, its task and its completions.
UPLOADED = [
    ("e", "t1", ["one"]),
    ("d", "t2", ["one", "two"]),
    ("c", "t1", ["two"]),
    ("b", "t1", ["one"]),
    ("a", "t2", ["two"]),
]
ALL = ["a", "b", "c", "d", "e"]


@pytest.fixture
def upload_times(database: Database, organization: Organization) -> list[int]:
    """Two completions, two tasks, the feedback of UPLOADED; gives the microseconds at which each was stored."""
    with database.writing() as connection:
        tx = database.tx(connection, organization.id)
        completions.record(tx, [Entry(completion_id, {"tags": ["a"]}) for completion_id in ("one", "two")])
        for task_id in ("t1", "t2"):
            feedback_tasks.create(tx, NewFeedbackTask(task_id, "a task", "", "{}", ("a",)))
        stored = feedback.record(
            tx,
            [
                NewFeedback(feedback_id, task, "{}", "", CompletionList(tuple(ids)))
                for feedback_id, task, ids in UPLOADED
            ],
        )
        return [outcome.feedback.created_at for outcome in stored if isinstance(outcome, feedback.StoredFeedback)]


def listed(api: Api, **query: Any) -> list[str]:
    return listed_with(api, None, query)


def listed_with(api: Api, body: dict[str, Any] | None, query: dict[str, Any]) -> list[str]:
    answer = api.request("GET", "/feedback", params=query, json=body)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["feedback"]]


def iso(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds // 10**6, UTC).replace(microsecond=microseconds % 10**6).isoformat()


# One


def test_feedback_says_all_its_fields(api: Api) -> None:
    task = api.task(["a"])["id"]
    api.completion(id="one", tags=["a"])

    uploaded = api.upload(task, id="mine", completion_ids=["one"], comment="fine")

    assert api.get("/feedback/mine").json() == uploaded
    assert (
        uploaded.items()
        >= {
            "id": "mine",
            "organization_id": api.organization.id,
            "task_id": task,
            "json_values": {},
            "matched_completion_ids": ["one"],
            "comment": "fine",
            "completions_summary": "1 completion",
        }.items()
    )
    assert isinstance(uploaded["created_at_ms"], int)


def test_feedback_that_is_not_there_is_not_found(api: Api, subtests: pytest.Subtests) -> None:
    for method in ["GET", "DELETE"]:
        for feedback_id in ["nobody", "..%2f", "'", "x" * 3000, "%ff", "%F0%9F%92%A5", "accept"]:
            with subtests.test(method=method, id=feedback_id):
                problem(api.request(method, f"/feedback/{feedback_id}"), 404, "not_found")


def test_deleted_feedback_is_gone_at_once(api: Api, upload_times: list[int]) -> None:
    first = api.delete("/feedback/c")

    assert (first.status_code, first.content) == (204, b"")
    problem(api.get("/feedback/c"), 404, "not_found")
    assert listed(api) == ["a", "b", "d", "e"]
    assert listed(api, task_id="t1", completion_id="two") == []


def test_feedback_on_many_completions_is_deleted_in_pieces(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database.thresholds, "links_per_step", 2)
    task = api.task(["many"])["id"]
    completion_ids = [api.completion(tags=["many"])["id"] for _ in range(5)]
    feedback_id = api.upload(task, completion_ids=completion_ids)["id"]

    answer = api.delete(f"/feedback/{feedback_id}")

    assert answer.status_code == 204
    problem(api.get(f"/feedback/{feedback_id}"), 404, "not_found")
    assert api.ungraded(task_id=task) == completion_ids[::-1]


def test_feedback_can_be_deleted_once(api: Api, upload_times: list[int]) -> None:
    api.delete("/feedback/c")

    problem(api.delete("/feedback/c"), 404, "not_found")


def test_the_completions_of_deleted_feedback_stay(api: Api, upload_times: list[int]) -> None:
    api.delete("/feedback/d")

    assert api.get("/completions/one").status_code == 200
    assert api.ungraded(task_id="t2") == ["one"]


# Lists


@pytest.mark.parametrize("place", ["query", "body"])
def test_a_list_is_narrowed_by_query_or_body(
    api: Api, upload_times: list[int], place: str, subtests: pytest.Subtests
) -> None:
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ALL),
        ({"limit": 2}, ["a", "b"]),
        ({"offset": 1, "limit": 2}, ["b", "c"]),
        ({"offset": 4}, ["e"]),
        ({"offset": 5}, []),
        ({"offset": 10**30}, []),
        ({"limit": 10**30}, ALL),
        ({"task_id": "t1"}, ["b", "c", "e"]),
        ({"task_id": "t1", "offset": 1, "limit": 1}, ["c"]),
        ({"completion_id": "one"}, ["b", "d", "e"]),
        ({"completion_id": "one", "task_id": "t2"}, ["d"]),
        ({"task_id": "nobody"}, []),
        ({"completion_id": "nobody"}, []),
        ({"completion_id": "x" * 20_000, "task_id": "💥"}, []),
    ]

    for filters, ids in cases:
        with subtests.test(filters=filters, ids=ids):
            listed_ids = listed_with(api, None, filters) if place == "query" else listed_with(api, filters, {})

            assert listed_ids == ids


def test_the_query_wins_where_both_name_a_field(api: Api, upload_times: list[int], subtests: pytest.Subtests) -> None:
    cases: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
        ({"limit": 1}, {"limit": 3}, ["a"]),
        ({"offset": 0}, {"offset": 3}, ALL),
        ({"limit": 2}, {"offset": 1}, ["b", "c"]),
        ({"task_id": "t1"}, {"task_id": "t2"}, ["b", "c", "e"]),
        ({"task_id": ""}, {"task_id": "t2"}, ["a", "d"]),
        ({"task_id": "None", "limit": " "}, {"task_id": "t2", "limit": 1}, ["a"]),
        ({"completion_id": "one"}, {"task_id": "t2"}, ["d"]),
        ({"completion_id": "nobody"}, {"completion_id": "one"}, []),
    ]

    for query, body, ids in cases:
        with subtests.test(query=query, body=body, ids=ids):
            assert listed_with(api, body, query) == ids


def test_a_blank_value_in_the_query_is_none(api: Api, upload_times: list[int]) -> None:
    for name in ["task_id", "completion_id", "created_from", "created_to", "offset", "limit", "total"]:
        for blank in ["", " ", "None", "\t"]:
            assert listed(api, **{name: blank}) == ALL, (name, blank)


def test_a_blank_id_in_the_body_is_none(api: Api, upload_times: list[int], subtests: pytest.Subtests) -> None:
    cases: list[dict[str, Any]] = [
        {},
        {"task_id": ""},
        {"task_id": " ", "completion_id": "\t"},
        {"limit": None, "x": 1},
    ]

    for body in cases:
        with subtests.test(body=body):
            assert listed_with(api, body, {}) == ALL


def test_a_query_that_cannot_be_read_is_refused(api: Api, subtests: pytest.Subtests) -> None:
    numbers = ["abc", "-1", "1.5", "1e3", "0x1", "\u0661", "1 2", "-" + "9" * 30]
    for name, wrong in [
        *(("limit", number) for number in [*numbers, "0"]),
        *(("offset", number) for number in numbers),
        ("created_from", "yesterday"),
        ("created_from", "1700000000"),
        ("created_to", "2026-02-30"),
        ("total", "yes"),
        ("task_id", "a\0"),
        ("completion_id", "\0"),
    ]:
        with subtests.test(name=name, wrong=wrong):
            assert paths(api.get("/feedback", params={name: wrong})) == [f"/query/{name}"]


def test_a_number_of_many_zeros_is_that_number(api: Api, upload_times: list[int], subtests: pytest.Subtests) -> None:
    for zeros in [5, 5000]:
        with subtests.test(zeros=zeros):
            assert listed(api, limit="0" * zeros + "2") == ["a", "b"]


def test_an_unknown_state_is_refused_at_its_name(api: Api, subtests: pytest.Subtests) -> None:
    for wrong in ["shown", "Accepted", "accepted,proposed"]:
        with subtests.test(wrong=wrong):
            assert set(paths(api.get("/feedback", params={"state": wrong}))) == {"/query/state"}


def test_a_body_that_cannot_be_read_is_refused(api: Api, subtests: pytest.Subtests) -> None:
    for name, wrong in [
        ("limit", 0),
        ("limit", -1),
        ("limit", "5"),
        ("limit", 1.5),
        ("limit", True),
        ("offset", -1),
        ("offset", "0"),
        ("task_id", 5),
        ("completion_id", ["one"]),
        ("completion_id", {}),
        ("task_id", "a\0"),
    ]:
        with subtests.test(name=name, wrong=wrong):
            assert paths(api.request("GET", "/feedback", json={name: wrong})) == [f"/{name}"]


def test_a_body_that_is_not_json_is_refused(api: Api, subtests: pytest.Subtests) -> None:
    for content in [b"{", b"[", b"x", b"\xff", b'{"limit":NaN}']:
        with subtests.test(content=content):
            problem(api.request("GET", "/feedback", content=content), 400, "not_json")


@pytest.mark.parametrize("name", ["created_from", "created_to"])
def test_the_ends_of_the_time_are_inclusive(api: Api, upload_times: list[int], name: str) -> None:
    ids = listed(api, **{name: iso(upload_times[2])})

    assert ids == (["a", "b", "c"] if name == "created_from" else ["c", "d", "e"])


def test_a_date_as_the_end_of_the_time_means_the_whole_day(api: Api, upload_times: list[int]) -> None:
    first, last = iso(upload_times[0])[:10], iso(upload_times[-1])[:10]

    assert listed(api, created_from=first, created_to=last) == ALL
    assert listed(api, created_to=f"{first}T00:00") == []


def test_both_ends_of_the_time_narrow_the_list(api: Api, upload_times: list[int]) -> None:
    ids = listed(api, created_from=iso(upload_times[1]), created_to=iso(upload_times[3]), task_id="t1")

    assert ids == ["b", "c"]


def test_a_time_without_a_zone_is_utc(api: Api, upload_times: list[int], subtests: pytest.Subtests) -> None:
    for spelled in ["{}", "{}+00:00", "{}Z"]:
        with subtests.test(spelled=spelled):
            moment = spelled.format(iso(upload_times[3]).removesuffix("+00:00"))

            assert listed(api, created_from=moment) == ["a", "b"]


def test_a_time_may_lie_before_all(api: Api, upload_times: list[int], subtests: pytest.Subtests) -> None:
    for moment in ["0001-01-01T00:00:00+23:59", "0001-01-01", "1969-12-31T23:59:59.999999-14:00"]:
        with subtests.test(moment=moment):
            assert listed(api, created_from=moment) == ALL
            assert listed(api, created_to=moment) == []


def test_feedback_is_counted_on_request(api: Api, upload_times: list[int], subtests: pytest.Subtests) -> None:
    cases: list[tuple[dict[str, Any], str | None]] = [
        ({}, None),
        ({"total": "false"}, None),
        ({"total": "true"}, "5"),
        ({"total": "TRUE", "limit": 1, "offset": 3}, "5"),
        ({"total": "true", "offset": 99}, "5"),
        ({"total": "true", "task_id": "t1"}, "3"),
        ({"total": "true", "completion_id": "two", "task_id": "t2"}, "2"),
        ({"total": "true", "task_id": "nobody"}, "0"),
    ]

    for query, total in cases:
        with subtests.test(query=query, total=total):
            assert api.get("/feedback", params=query).headers.get("X-Total-Count") == total


def test_50_are_listed_unless_more_are_asked_for(api: Api, database: Database, upload_times: list[int]) -> None:
    with database.writing() as connection:
        tx = database.tx(connection, api.organization.id)
        feedback.record(tx, [NewFeedback(None, "t1", "{}", "", CompletionList(("one",))) for _ in range(1000)])

    assert len(listed(api)) == 50
    assert len(listed(api, limit=1000)) == 1000
    assert len(listed(api, limit=1001)) == 1000
    assert len(listed(api, limit=1000, offset=1000)) == 5


def test_a_deleted_completion_filters_nothing_any_more(api: Api, upload_times: list[int]) -> None:
    api.delete("/completions/one")

    assert listed(api, completion_id="one") == []
    assert listed(api) == ALL
    assert api.get("/feedback/d").json()["matched_completion_ids"] == ["two"]


# What was graded


def summary(api: Api, *requests: Any) -> str:
    """Of feedback on completions with these requests, in their order."""
    task = api.task([])["id"]
    ids = [api.completion(request=request)["id"] for request in requests]
    target = {"completion_ids": ids} if ids else {"completion_tags_selector": [], "allow_unmatched_feedback": True}
    return str(api.upload(task, **target)["completions_summary"])


def test_the_summary_names_models_and_the_last_user_message(api: Api) -> None:
    messages = [
        {"role": "user", "content": "First?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "What is\n  the capital?"},
        {"role": "assistant", "content": "Of what?"},
    ]

    line = summary(api, {"model": "gpt-4o", "messages": messages}, {"model": "claude"}, {"model": "gpt-4o"})

    assert line == '3 completions (gpt-4o, claude): "What is the capital?"'


def test_the_summary_of_nothing_says_so(api: Api) -> None:
    assert summary(api) == "no completions"


def test_the_summary_stays_as_it_was_when_the_completion_changes(api: Api) -> None:
    task = api.task([])["id"]
    api.completion(id="one", request={"prompt": "before"})
    uploaded = api.upload(task, completion_ids=["one"])

    api.completion(id="one", request={"prompt": "after"})

    assert api.get(f"/feedback/{uploaded['id']}").json()["completions_summary"] == '1 completion: "before"'


def test_the_summary_is_one_line_whatever_the_model_is_called(api: Api, subtests: pytest.Subtests) -> None:
    for model in ["a\nb", "a\u2028b", "\x1b[31m", "\r", "a\x85b"]:
        with subtests.test(model=model):
            line = summary(api, {"model": model})

            assert line.isprintable(), json.dumps(line)
