"""Completions: created, merged, read and deleted over HTTP (docs/api.md, "Completions", "Limits")."""

import json
import time
import uuid
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import Api, paths, problem

OPENING = {"status": "started", "request": {"model": "m"}, "tags": ["a", "b"], "session_id": "s", "kind": "prompt"}
CLOSING = {"status": "finished", "response": {"x": None}, "duration": 1.5, "failure_reason": "none"}
HUGE = int("9" * 4000)


def client_fields(completion: dict[str, Any]) -> dict[str, Any]:
    """The fields of a completion that its client sent, without those that the server sets."""
    return {name: value for name, value in completion.items() if name not in {"id", "created_at_ms", "organization_id"}}


def test_a_completion_without_an_id_gets_a_version_7_uuid(api: Api) -> None:
    assert uuid.UUID(api.completion()["id"]).version == 7


def test_an_empty_completion_shows_defaults_and_no_nulls(api: Api) -> None:
    before = time.time_ns() // 1_000_000

    made = api.completion()

    assert client_fields(made) == {"kind": "chat", "status": "started", "tags": []}
    assert made["organization_id"] == api.organization.id
    assert before <= made["created_at_ms"] <= time.time_ns() // 1_000_000
    assert type(made["created_at_ms"]) is int


def test_a_completion_with_a_response_shows_as_finished(api: Api) -> None:
    assert api.completion(response={})["status"] == "finished"


def test_a_late_row_fills_the_defaults_that_were_shown(api: Api) -> None:
    api.completion(id="c", response={})

    late = api.completion(id="c", status="failed", kind="prompt", tags=["t"])

    assert (late["status"], late["kind"], late["tags"]) == ("failed", "prompt", ["t"])


def test_what_is_answered_is_what_is_read_next(api: Api) -> None:
    made = api.completion(**OPENING)

    assert api.get(f"/completions/{made['id']}").json() == made


def test_a_known_id_merges_and_keeps_its_time(api: Api) -> None:
    first = api.completion(id="c", **OPENING)

    answer = api.post("/completions", json={"id": "c", "duration": 2})

    assert answer.status_code == 201
    assert answer.json() == {**first, "duration": 2}


def test_a_row_under_an_unknown_id_in_the_path_creates(api: Api) -> None:
    answer = api.post("/completions/c", json=CLOSING)

    assert answer.status_code == 200
    assert answer.json()["id"] == "c"
    assert api.get("/completions/c").json() == answer.json()


def test_opening_and_closing_rows_give_the_same_in_any_order(api: Api, subtests: pytest.Subtests) -> None:
    """`tests/unit/test_merging.py` tries every order and repetition; here are some of them, as they are stored."""
    both = [OPENING, CLOSING]
    for number, rows in enumerate([both, both[::-1], both + both, both[::-1] + both, both + both[::-1]]):
        with subtests.test(number=number):
            for row in rows:
                answer = api.post(f"/completions/{number}", json=row)

            assert client_fields(answer.json()) == {**OPENING, **CLOSING}


def test_a_late_start_does_not_bring_back_tags_that_were_cleared(api: Api) -> None:
    api.completion(id="c", status="finished", tags=[])

    assert api.completion(id="c", **OPENING)["tags"] == []


def test_null_keeps_the_stored_value(api: Api) -> None:
    made = api.completion(id="c", **OPENING, duration=1.25, failure_kind="x")

    answer = api.completion(id="c", **dict.fromkeys([*OPENING, *CLOSING, "failure_kind", "organization_id"]))

    assert answer == made


@pytest.mark.parametrize("same", ["c", None])
def test_the_id_in_the_body_may_repeat_that_of_the_path(api: Api, same: str | None) -> None:
    assert api.post("/completions/c", json={"id": same}).json()["id"] == "c"


def test_another_id_in_the_body_than_in_the_path_is_invalid(api: Api) -> None:
    assert paths(api.post("/completions/c", json={"id": "d"})) == ["/id"]
    problem(api.get("/completions/c"), 404)


def test_what_is_the_servers_is_ignored_in_a_body(api: Api) -> None:
    made = api.completion(created_at_ms=5, created_at="x", model=7, input_tokens="x", total={}, kinds=1)

    assert client_fields(made) == {"kind": "chat", "status": "started", "tags": []}
    assert made["created_at_ms"] > 5


def test_a_repeated_tag_counts_once_and_the_order_stays(api: Api) -> None:
    tags = ["b", "a", "b", "B", " a", "é", "e\u0301", "a", "", "😀[x/y]", "%_\\", "\x01\t\n"]

    assert api.completion(tags=tags)["tags"] == list(dict.fromkeys(tags))


def test_as_many_and_as_long_tags_as_allowed_are_kept(api: Api) -> None:
    tags = ["é" * 4096, *(f"tag {number}" for number in range(999))]

    made = api.completion(id="c", tags=tags)

    assert made["tags"] == tags
    assert api.get("/completions/c").json()["tags"] == tags


def test_a_duration_is_answered_as_the_number_it_is(api: Api) -> None:
    for duration in (0, 1, 1.5, 0.1, 1e300, -1.5, 1e-320, 5e-324, 1.7976931348623157e308, 2**53 + 1, 1234567.891):
        assert api.completion(duration=duration)["duration"] == float(duration)


def test_odd_text_is_kept_exactly(api: Api, subtests: pytest.Subtests) -> None:
    for name in ["failure_kind", "failure_reason", "session_id"]:
        with subtests.test(name=name):
            for text in ("é😀", " x ", "\x01\n\x7f", "\ufeff", "\u202e", "a\\b", "'; --", "None", "%00"):
                made = api.completion(**{name: text})

                assert api.get(f"/completions/{made['id']}").json()[name] == text


WRONG: dict[str, list[Any]] = {
    "id": ["", ".", "..", "ungraded", "batch", "a/b", "a,b", "a?b", "a#b", "a\\b", "a\nb", "\x7f", "\x85", "x" * 256,
           "é" * 128, "a\0", 1, HUGE, True, [], {}],
    "kind": ["completion", "Chat", "", " chat", 1, HUGE, 1e300, True, [], {}, ["chat"]],
    "status": ["done", "Finished", "", 0, HUGE, [], {"a": 1}],
    "tags": ["a", {}, 1, HUGE, True, {"a": "b"}],
    "session_id": ["x" * 513, "é" * 257, "a\0b", 1, HUGE, [], {}, False],
    "duration": ["1", "1.5", HUGE, -HUGE, 10**309, True, [], {}],
    "failure_kind": ["x" * 4097, "é" * 2049, "\0", 1, HUGE, []],
    "failure_reason": ["x" * (2**20 + 1), "\0", 1, {}],
}  # fmt: skip
TOO_LARGE = ["1e400", "-1e400", "9" * 4001, "1E999999999999999999999"]
HALVES = ['"\\ud83d"', '"a\\udc00b"', '"\\udc00\\ud83d"', '"a\\u0000"']


def assert_all_invalid(api: Api, at: str, bodies: list[str]) -> None:
    """Each body is refused with a fault at this place only, and none leaves a completion behind."""
    for body in bodies:
        answer = api.post("/completions", content=body.encode())

        assert answer.status_code == 422, (body[:100], answer.text)
        assert paths(answer) == [at], body[:100]
    assert api.get("/completions").json()["completions"] == []


def test_what_a_field_can_not_be_is_invalid_at_its_place(api: Api, subtests: pytest.Subtests) -> None:
    for name in WRONG:
        with subtests.test(name=name):
            assert_all_invalid(api, f"/{name}", [json.dumps({"response": {}, name: wrong}) for wrong in WRONG[name]])


def test_a_number_that_can_not_be_held_is_invalid_in_every_field(api: Api, subtests: pytest.Subtests) -> None:
    for name in WRONG:
        with subtests.test(name=name):
            assert_all_invalid(api, f"/{name}", [f'{{"{name}":{number}}}' for number in TOO_LARGE])


def test_half_a_character_and_nul_are_invalid_in_every_text(api: Api, subtests: pytest.Subtests) -> None:
    for name in ["id", "kind", "status", "session_id", "failure_kind", "failure_reason"]:
        for half in HALVES:
            with subtests.test(name=name, half=half):
                assert_all_invalid(api, f"/{name}", [f'{{"{name}":{half}}}'])


def test_an_invalid_tag_is_refused_with_its_path(api: Api) -> None:
    wrong = [*HALVES, "1", "null", "[]", "{}", "1e400", '"' + "é" * 4097 + '"']

    assert_all_invalid(api, "/tags/1", [f'{{"tags":["a",{tag},"b"]}}' for tag in wrong])


def test_more_tags_than_allowed_are_invalid(api: Api) -> None:
    answer = api.post("/completions", json={"tags": [str(number) for number in range(1001)]})

    assert paths(answer) == ["/tags"]
    assert "1000" in answer.json()["detail"]


def test_every_fault_of_a_body_is_said(api: Api) -> None:
    answer = api.post("/completions", json={"kind": "x", "tags": [1, "a", None], "duration": "1", "request": []})

    assert sorted(paths(answer)) == ["/duration", "/kind", "/request", "/tags/0", "/tags/2"]


def test_a_refused_row_leaves_what_is_stored(api: Api) -> None:
    made = api.completion(id="c", **OPENING)

    paths(api.post("/completions/c", json={"duration": 3, "tags": [1]}))

    assert api.get("/completions/c").json() == made


ODD_IDS = [
    "a b",
    " ",
    "é😀",
    "a:b",
    "a%2Fb",
    "%",
    "+",
    "a&b=c",
    "x" * 255,
    "é" * 127,
    "'",
    '"',
    "None",
    "~",
    "a;b",
    "UNGRADED",
]


def test_a_completion_is_reached_by_any_id_that_is_allowed(api: Api) -> None:
    for completion_id in ODD_IDS:
        path = "/completions/" + quote(completion_id, safe="")

        created = api.post(path, json={"id": completion_id, "tags": ["t"]})

        assert created.json()["id"] == completion_id
        assert api.get(path).json() == created.json()
        assert api.delete(path).status_code == 204


def test_a_path_that_can_not_be_an_id_creates_nothing(api: Api, subtests: pytest.Subtests) -> None:
    for path in ["a,b", "a%2Cb", "a%3Fb", "a%23b", "a%5Cb", "a%0Ab", "a%0A", "%7F", "x" * 256, "a%C2%85"]:
        with subtests.test(path=path):
            answer = api.post(f"/completions/{path}", json={})

            assert answer.status_code in {404, 422}, answer.text
            problem(answer, answer.status_code)
            assert api.get("/completions").json()["completions"] == []


def test_what_is_not_there_is_not_found(api: Api, subtests: pytest.Subtests) -> None:
    for path in ["c", "%FF", "%ED%A0%80", "a%2Fb", "a/b", "x" * 5000, "%F0%9F%98%80"]:
        with subtests.test(path=path):
            problem(api.get(f"/completions/{path}"), 404)
            problem(api.delete(f"/completions/{path}"), 404)


def test_a_deleted_completion_is_gone_at_once_everywhere(api: Api) -> None:
    api.task(["t"])
    api.completion(id="c", tags=["t"], session_id="s")

    deleted = api.delete("/completions/c")

    assert (deleted.status_code, deleted.content) == (204, b"")
    problem(api.get("/completions/c"), 404)
    assert api.get("/completions").json() == {"completions": []}
    assert api.get("/completions", params={"tag": "t"}).json() == {"completions": []}
    assert api.get("/sessions/s").json()["completions"] == []
    assert api.ungraded() == []
    problem(api.delete("/completions/c"), 404)


def test_feedback_on_a_deleted_completion_stays_without_it(api: Api) -> None:
    task = api.task(["t"])
    for completion_id in "abc":
        api.completion(id=completion_id, tags=["t"])
    uploaded = api.upload(task["id"], completion_ids=["a", "b", "c"])

    api.delete("/completions/b")

    assert api.get(f"/feedback/{uploaded['id']}").json()["matched_completion_ids"] == ["a", "c"]


def test_a_row_after_the_deletion_makes_the_completion_anew(api: Api) -> None:
    task = api.task(["t"])
    first = api.completion(id="c", **{**OPENING, "tags": ["t"]})
    api.upload(task["id"], completion_ids=["c"])
    api.delete("/completions/c")

    anew = api.completion(id="c", tags=["t"])

    assert client_fields(anew) == {"kind": "chat", "status": "started", "tags": ["t"]}
    assert anew["created_at_ms"] >= first["created_at_ms"]
    assert api.ungraded() == ["c"]


def test_two_organizations_may_use_the_same_id(api: Api, other_api: Api) -> None:
    api.completion(id="c", tags=["mine"], session_id="s")

    other_completion = other_api.completion(id="c", duration=1)

    assert client_fields(other_completion) == {"kind": "chat", "status": "started", "tags": [], "duration": 1}
    other_api.delete("/completions/c")
    assert api.get("/completions/c").json()["tags"] == ["mine"]
    problem(other_api.get("/sessions/s"), 404)
