"""Sessions: made, named by rows, and read with their completions (docs/api.md, "Completions")."""

import time
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import Api, paths, problem


def ids(page: dict[str, Any]) -> list[str]:
    return [completion["id"] for completion in page["completions"]]


def test_a_session_is_made_without_a_body(api: Api) -> None:
    made = api.post("/sessions")

    assert made.status_code == 201
    assert list(made.json()) == ["session"]
    assert list(made.json()["session"]) == ["id"]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"organization_id":null}', b'{"id":"x","a":[1]}', b"\xef\xbb\xbf{}"])
def test_a_session_is_made_whatever_its_body_says(api: Api, body: bytes) -> None:
    made = api.post("/sessions", content=body, headers={"Content-Type": "application/json"})

    assert made.status_code == 201
    assert made.json()["session"]["id"] != "x"


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "image/png"])
def test_a_session_is_made_with_a_body_of_any_type(api: Api, media_type: str) -> None:
    assert api.post("/sessions", content=b"a=b", headers={"Content-Type": media_type}).status_code == 201


def test_a_new_session_is_read_without_completions(api: Api) -> None:
    session_id = api.post("/sessions").json()["session"]["id"]

    read = api.get(f"/sessions/{session_id}").json()

    assert read["completions"] == []
    assert read["session"]["id"] == session_id
    assert abs(read["session"]["created_at_ms"] - time.time_ns() // 10**6) < 3_600_000
    assert "next_cursor" not in read


def test_two_sessions_are_two(api: Api) -> None:
    assert api.post("/sessions").json() != api.post("/sessions").json()


def test_a_row_that_names_a_session_makes_it(api: Api) -> None:
    api.completion(id="c", session_id="s")

    read = api.get("/sessions/s").json()

    assert read["session"]["id"] == "s"
    assert read["completions"] == [api.get("/completions/c").json()]


def test_the_completions_of_a_session_stand_in_the_order_in_which_they_began(api: Api) -> None:
    for completion_id in "cab":
        api.completion(id=completion_id, session_id="s")
    api.completion(id="other", session_id="S")
    api.completion(id="c", duration=1)

    assert ids(api.get("/sessions/s").json()) == ["c", "a", "b"]


def test_a_completion_that_names_another_session_moves_and_both_sessions_stay(api: Api) -> None:
    api.completion(id="c", session_id="s")

    api.completion(id="c", session_id="t")

    assert ids(api.get("/sessions/s").json()) == []
    assert ids(api.get("/sessions/t").json()) == ["c"]


def test_a_session_stays_when_its_last_completion_is_deleted(api: Api) -> None:
    api.completion(id="c", session_id="s")
    api.completion(id="d", session_id="s")
    before = api.get("/sessions/s").json()["session"]

    api.delete("/completions/c")
    api.delete("/completions/d")

    assert api.get("/sessions/s").json() == {"session": before, "completions": []}


def test_a_session_that_only_a_late_opening_row_named_exists(api: Api) -> None:
    api.completion(id="c", session_id="s", status="finished")
    api.completion(id="c", session_id="t", status="started")

    assert api.get("/sessions/t").json()["completions"] == []
    assert ids(api.get("/sessions/s").json()) == ["c"]


def test_a_session_that_a_batch_names_and_leaves_again_exists(api: Api) -> None:
    rows = b'{"id": "c", "session_id": "s"}\n{"id": "c", "session_id": "t"}\n'

    answer = api.post("/completions/batch", content=rows, headers={"Content-Type": "application/x-ndjson"})

    assert answer.status_code == 201
    assert api.get("/sessions/s").json()["completions"] == []
    assert ids(api.get("/sessions/t").json()) == ["c"]


def test_a_session_was_first_used_when_its_oldest_completion_began(api: Api) -> None:
    api.completion(id="c", session_id="s")
    api.completion(id="d", session_id="s")
    oldest = api.get("/completions/c").json()["created_at_ms"]

    api.completion(id="c", session_id="t")
    api.completion(id="d", session_id="t")

    assert api.get("/sessions/s").json()["session"]["created_at_ms"] == oldest
    assert api.get("/sessions/t").json()["session"]["created_at_ms"] == oldest


def test_a_blank_session_id_keeps_the_stored_session(api: Api) -> None:
    api.completion(id="c", session_id="s")

    assert api.completion(id="c", session_id="")["session_id"] == "s"


def test_the_pages_of_a_session_stay_right_while_rows_come_and_go(api: Api) -> None:
    for completion_id in "abcdef":
        api.completion(id=completion_id, session_id="s")
    first = api.get("/sessions/s", params={"limit": 2}).json()

    for gone in "abd":
        api.delete(f"/completions/{gone}")
    api.completion(id="g", session_id="s")
    second = api.get("/sessions/s", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    third = api.get("/sessions/s", params={"limit": 2, "cursor": second["next_cursor"]}).json()

    assert [ids(first), ids(second), ids(third)] == [["a", "b"], ["c", "e"], ["f", "g"]]
    assert "next_cursor" not in third


ODD_IDS = ["a b", "a/b", "/a", "a//b", "a/", "é😀", "a?b#c", "a\\b", "a,b", ".", "..", "../x", "%2F", "None", "+", "x" * 512, "é" * 256,
           "a\tb", "\x7f", "ungraded", " "]  # fmt: skip


@pytest.mark.parametrize("ids_", [ODD_IDS, ["a\nb"], ["a\n"], ["\n"]], ids=["odd", "within", "behind", "alone"])
def test_a_session_is_reached_by_any_id_that_a_row_may_name(api: Api, ids_: list[str]) -> None:
    for session_id in ids_:
        reach(api, session_id)


def reach(api: Api, session_id: str) -> None:
    api.completion(id="c", session_id=session_id)

    read = api.get("/sessions/" + quote(session_id, safe="").replace(".", "%2E"))

    assert read.status_code == 200, read.text
    assert read.json()["session"]["id"] == session_id
    assert ids(read.json()) == ["c"]
    assert [
        completion["id"]
        for completion in api.get("/completions", params={"session_id": session_id}).json()["completions"]
    ] == ["c"]


def test_a_line_break_behind_an_id_is_part_of_it(api: Api) -> None:
    api.completion(session_id="a")

    problem(api.get("/sessions/a%0A"), 404)


@pytest.mark.parametrize("path", ["x", "%FF", "%ED%A0%80", "x" * 3000])
def test_a_session_that_is_not_there_is_not_found(api: Api, path: str) -> None:
    problem(api.get(f"/sessions/{path}"), 404)


def test_another_organization_has_sessions_of_its_own(api: Api, other_api: Api) -> None:
    api.completion(id="c", session_id="s")
    problem(other_api.get("/sessions/s"), 404)

    other_api.completion(id="d", session_id="s")

    assert ids(other_api.get("/sessions/s").json()) == ["d"]
    assert ids(api.get("/sessions/s").json()) == ["c"]


@pytest.mark.parametrize(("name", "wrong"), [("limit", "0"), ("limit", "x"), ("cursor", "x"), ("cursor", "\0")])
def test_a_query_that_can_not_be_read_is_invalid(api: Api, name: str, wrong: str) -> None:
    api.completion(session_id="s")

    assert paths(api.get("/sessions/s", params={name: wrong})) == [f"/query/{name}"]
