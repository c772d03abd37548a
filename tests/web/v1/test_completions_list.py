"""The list of completions: filters, order, pages (docs/api.md, "Lists")."""

import base64
from datetime import datetime, timedelta
from typing import Any

import pytest

from log10_server.clock import utc
from log10_server.db.database import Database
from log10_server.db.thresholds import PageSearch
from log10_server.services import completions
from tests.conftest import Api, Organization, completion_of, paths


def listed(api: Api, **query: Any) -> list[str]:
    answer = api.get("/completions", params=query)
    assert answer.status_code == 200, answer.text
    return [completion["id"] for completion in answer.json()["completions"]]


def walked(api: Api, limit: int, **query: Any) -> list[str]:
    """The ids of all pages, one after the other."""
    ids: list[str] = []
    cursor = None
    while True:
        page = api.get(
            "/completions", params={**query, "limit": limit, **({"cursor": cursor} if cursor else {})}
        ).json()
        assert len(page["completions"]) <= limit
        ids += [completion["id"] for completion in page["completions"]]
        cursor = page.get("next_cursor")
        if cursor is None:
            return ids


def log(api: Api, ids: str, **fields: Any) -> None:
    for completion_id in ids:
        api.completion(id=completion_id, **fields)


def began(database: Database, organization: Organization, completion_id: str) -> datetime:
    """When a completion began, to the microsecond."""
    with database.reading() as connection:
        return utc(completion_of(database.tx(connection, organization.id), completion_id).created_at)


def test_an_empty_list_has_no_next_cursor(api: Api) -> None:
    assert api.get("/completions").json() == {"completions": []}


def test_the_newest_comes_first_whatever_its_id(api: Api) -> None:
    log(api, "cabzd")

    assert listed(api) == list("dzbac")


def test_a_merge_does_not_move_a_completion(api: Api) -> None:
    log(api, "abc")

    api.completion(id="a", duration=1)

    assert listed(api) == ["c", "b", "a"]


def test_the_list_shows_what_a_single_one_shows(api: Api) -> None:
    made = api.completion(id="c", tags=["t"], request={"a": None}, session_id="s", duration=2.5)

    assert api.get("/completions").json()["completions"] == [made]


def test_every_filter_narrows_and_all_must_hold(api: Api, subtests: pytest.Subtests) -> None:
    api.completion(id="a", status="started", session_id="s", tags=["x", "y"])
    api.completion(id="b", kind="prompt")
    api.completion(id="c", response={"model": "m1"}, tags=["x"])
    api.completion(id="d", status="finished", session_id="s", tags=["y"])
    api.completion(id="e", status="failed", request={"model": "m1"}, tags=["y", "x", "z"])

    cases: list[tuple[dict[str, Any], str]] = [
        ({"status": "finished"}, "dc"),
        ({"status": "started"}, "ba"),
        ({"status": "failed"}, "e"),
        ({"kind": "chat"}, "edca"),
        ({"kind": "prompt"}, "b"),
        ({"session_id": "s"}, "da"),
        ({"session_id": "S"}, ""),
        ({"model": "m1"}, "ec"),
        ({"model": "m"}, ""),
        ({"tag": "x"}, "eca"),
        ({"tag": ["x", "y"]}, "ea"),
        ({"tag": ["y", "x", "x"]}, "ea"),
        ({"tag": ["x", "y", "no such tag"]}, ""),
        ({"tag": "X"}, ""),
        ({"tag": " x"}, ""),
        ({"tag": "", "status": " ", "kind": "None", "session_id": "", "model": "", "cursor": "", "limit": ""}, "edcba"),
        ({"tag": ["", "x"]}, "eca"),
        ({"tag": "x", "status": "started", "kind": "chat", "session_id": "s"}, "a"),
        ({"tag": "x", "model": "m1", "status": "failed"}, "e"),
        ({"session_id": "'; --"}, ""),
        ({"model": "%"}, ""),
    ]

    for query, expected in cases:
        with subtests.test(query=query):
            assert listed(api, **query) == list(expected)
            filters = {name: value for name, value in query.items() if name not in {"limit", "cursor"}}
            assert walked(api, 1, **filters) == list(expected)


def test_a_model_is_found_by_the_name_it_was_asked_by_after_the_answer_came(api: Api) -> None:
    """`gpt-4o` answers as `gpt-4o-2024-05-13`; the closing row holds the answer only."""
    api.completion(id="c", status="started", request={"model": "gpt-4o"})

    api.completion(id="c", status="finished", response={"model": "gpt-4o-2024-05-13"})

    assert listed(api, model="gpt-4o") == ["c"]


def test_cleared_tags_are_not_found_any_more(api: Api) -> None:
    api.completion(id="c", tags=["x", "y"])

    api.completion(id="c", tags=["y"])

    assert (listed(api, tag="x"), listed(api, tag="y")) == ([], ["c"])


def test_another_organization_sees_nothing(api: Api, other_api: Api) -> None:
    api.completion(id="c", tags=["x"], session_id="s", request={"model": "m"})

    for query in ({}, {"tag": "x"}, {"session_id": "s"}, {"model": "m"}):
        assert listed(other_api, **query) == []


@pytest.mark.parametrize("query", [{}, {"tag": "t"}, {"tag": ["t", "u"]}])
def test_the_pages_together_are_the_list(api: Api, query: dict[str, Any]) -> None:
    log(api, "abcdefg", tags=["t", "u"])

    for limit in (1, 2, 3, 7, 8):
        assert walked(api, limit, **query) == list("gfedcba")


def test_a_full_last_page_has_no_next_cursor(api: Api) -> None:
    log(api, "ab")

    assert "next_cursor" not in api.get("/completions", params={"limit": 2}).json()


def test_a_page_that_ends_early_has_a_cursor_even_if_it_is_empty(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each filter passes half of the completions, and both together pass only the oldest and the newest one."""
    monkeypatch.setattr(database.thresholds, "page_search", PageSearch(piece=2, max_candidates=4, seconds=60))
    log(api, "a", session_id="s", status="failed")
    for finished, failed in zip("bcdefghijkl", "mnopqrstuvw", strict=True):
        log(api, finished, session_id="s", status="finished")
        log(api, failed, session_id="t", status="failed")
    log(api, "z", session_id="s", status="failed")

    first = api.get("/completions", params={"session_id": "s", "status": "failed"}).json()
    second = api.get(
        "/completions", params={"session_id": "s", "status": "failed", "cursor": first["next_cursor"]}
    ).json()

    assert [completion["id"] for completion in first["completions"]] == ["z"]
    assert (second["completions"], "next_cursor" in second) == ([], True)
    assert walked(api, 50, session_id="s", status="failed") == ["z", "a"]
    assert walked(api, 1, session_id="s", status="failed") == ["z", "a"]


@pytest.mark.parametrize("query", [{}, {"tag": "t"}])
def test_a_cursor_stays_right_while_rows_come_and_go(api: Api, query: dict[str, Any]) -> None:
    log(api, "abcdef", tags=["t"])
    first = api.get("/completions", params={**query, "limit": 2}).json()

    log(api, "xyz", tags=["t"])
    for gone in "ecf":  # `e` is where the page ended
        api.delete(f"/completions/{gone}")
    api.completion(id="d", duration=1)

    assert listed(api, **query, cursor=first["next_cursor"]) == ["d", "b", "a"]


def test_a_completion_made_anew_is_not_shown_behind_the_cursor(api: Api) -> None:
    log(api, "abcd")
    first = api.get("/completions", params={"limit": 2}).json()

    api.delete("/completions/a")
    api.completion(id="a")

    assert listed(api, cursor=first["next_cursor"]) == ["b"]


def test_a_cursor_of_an_odd_id_is_right(api: Api) -> None:
    for completion_id in ["é:😀", "a:b", ":", "z"]:
        api.completion(id=completion_id)

    assert walked(api, 1) == ["z", ":", "a:b", "é:😀"]


def encoded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


NO_CURSORS = [
        "x", "abc", "é", "!!!!", "=", "2026-01-01", "1", "%", "\x7f", "a" * 3000, encoded(b"1"), encoded(b"x:y"), encoded(b":c"),
        encoded(b"1.5:c"), encoded(b"1:\0"), encoded(b"1:\xff"), encoded(b"\xff:c"), encoded(b"1e5:c"), encoded(b"NaN:c"),
        encoded(b"9" * 5000 + b":c"), encoded(b"-" + b"9" * 30 + b":c"), "\0",
    ]  # fmt: skip


def assert_all_invalid(api: Api, name: str, wrong: list[str]) -> None:
    for value in wrong:
        answer = api.get("/completions", params={name: value})

        assert answer.status_code == 422, value
        assert paths(answer) == [f"/query/{name}"], value


def test_an_invalid_cursor_is_refused(api: Api) -> None:
    assert_all_invalid(api, "cursor", NO_CURSORS)


def test_both_ends_of_a_time_are_inclusive_to_the_microsecond(
    api: Api, database: Database, organization: Organization
) -> None:
    log(api, "abc", tags=["t"])
    at = began(database, organization, "b")
    tick = timedelta(microseconds=1)

    for more in ({}, {"tag": "t"}):
        assert listed(api, created_from=at.isoformat(), **more) == ["c", "b"]
        assert listed(api, created_from=(at + tick).isoformat(), **more) == ["c"]
        assert listed(api, created_to=at.isoformat(), **more) == ["b", "a"]
        assert listed(api, created_to=(at - tick).isoformat(), **more) == ["a"]
        assert listed(api, created_from=at.isoformat(), created_to=at.isoformat(), **more) == ["b"]


def test_a_time_may_be_spelled_in_every_usual_way(
    api: Api, database: Database, organization: Organization, subtests: pytest.Subtests
) -> None:
    log(api, "abc")
    at = began(database, organization, "b")

    for text in [
        at.isoformat(),
        at.replace(tzinfo=None).isoformat(),
        at.replace(tzinfo=None).isoformat(" "),
        at.isoformat().replace("+", " "),
        at.isoformat().replace("+00:00", "Z"),
        str(at),
        str(at).replace("+", " "),
        (at + timedelta(hours=2)).isoformat().replace("+00:00", "+02:00"),
        (at + timedelta(hours=2)).isoformat().replace("+00:00", " 02:00"),
        (at - timedelta(hours=5, minutes=30)).isoformat().replace("+00:00", "-05:30"),
    ]:
        with subtests.test(text=text):
            assert listed(api, created_from=text, created_to=text) == ["b"]


@pytest.mark.parametrize("spelling", ["%Y-%m-%d", "%Y%m%d", "%G-W%V-%u", "%GW%V%u"])
def test_a_date_without_a_time_stands_for_the_whole_day_in_utc(
    api: Api, database: Database, organization: Organization, spelling: str
) -> None:
    log(api, "a")
    day = began(database, organization, "a").date()
    before, today, after = ((day + timedelta(days)).strftime(spelling) for days in (-1, 0, 1))

    assert listed(api, created_from=today) == ["a"]
    assert listed(api, created_from=after) == []
    assert listed(api, created_to=today) == ["a"]
    assert listed(api, created_to=before) == []
    assert listed(api, created_from=today, created_to=today) == ["a"]


def test_midnight_as_the_end_of_a_range_is_an_instant_and_no_whole_day(
    api: Api, database: Database, organization: Organization
) -> None:
    log(api, "a")
    day = began(database, organization, "a").date()

    assert listed(api, created_to=f"{day}T00:00") == []
    assert listed(api, created_to=f"{day + timedelta(1)}T00:00") == ["a"]


def test_the_ends_of_time_are_times(api: Api, subtests: pytest.Subtests) -> None:
    log(api, "a")

    for moment in ["0001-01-01", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59"]:
        with subtests.test(moment=moment):
            assert listed(api, created_from=moment) == (["a"] if moment.startswith("0001") else [])


NO_MOMENTS = ["x", "2026", "2026-02-30", "2026-01-01T25:00", "yesterday", "1", "0", "-1", "1.5", "1769846400", "2026-01-01T00:00:00+99:99",
     "10000-01-01", "0000-01-01", "2026-W05", "2026W05", "2026-01-31+02:00", "2026-01-31Z", "2026-01-31_08:00", "2026-01-31T",
     "2026-01-01T00:00:00 +00:00x", "T", "\0", "9" * 400, "NaN", "2026-01-01T00:00:00+24:00"]  # fmt: skip


def test_an_invalid_time_is_refused(api: Api, subtests: pytest.Subtests) -> None:
    for name in ["created_from", "created_to"]:
        with subtests.test(name=name):
            assert_all_invalid(api, name, NO_MOMENTS)


def test_an_invalid_limit_is_refused(api: Api) -> None:
    assert_all_invalid(
        api,
        "limit",
        ["abc", "0", "-1", "1.5", "1e3", "0x10", "\uff11", "1 0", "--1", "+", "-", "true", "\0", "-0", "00"],
    )


def test_a_limit_beyond_the_greatest_means_the_greatest(api: Api, subtests: pytest.Subtests) -> None:
    log(api, "ab")

    for limit in ["1001", "99999", str(2**63), str(10**30), "9" * 5000]:
        with subtests.test(limit=limit):
            assert listed(api, limit=limit) == ["b", "a"]


def test_a_filter_that_can_not_be_read_is_invalid(api: Api, subtests: pytest.Subtests) -> None:
    for name, wrong in [
        ("status", "done"),
        ("status", "Finished"),
        ("kind", "completion"),
        ("kind", "\0"),
        ("tag", "\0"),
        ("session_id", "a\0"),
        ("model", "\0"),
    ]:
        with subtests.test(name=name, wrong=wrong):
            answer = api.get("/completions", params={name: wrong})

            assert [path.removesuffix("/0") for path in paths(answer)] == [f"/query/{name}"]


def test_every_fault_of_a_query_is_said(api: Api) -> None:
    answer = api.get("/completions?limit=0&created_from=x&status=y&cursor=&kind=z")

    assert sorted(paths(answer)) == ["/query/created_from", "/query/kind", "/query/limit", "/query/status"]


def test_the_usual_page_holds_50_and_the_greatest_1000(
    api: Api, database: Database, organization: Organization
) -> None:
    with database.writing() as connection:
        tx = database.tx(connection, organization.id)
        completions.record(tx, [completions.Entry(f"{number:04}", {}) for number in range(1005)])

    assert len(listed(api)) == 50
    assert len(listed(api, limit=1001)) == 1000
    assert walked(api, 1000) == [f"{number:04}" for number in reversed(range(1005))]


def test_as_many_tags_may_be_asked_for_as_a_selector_holds(api: Api) -> None:
    names = [f"t{number}" for number in range(101)]
    api.completion(id="0", tags=names)

    assert listed(api, tag=names[:100]) == ["0"]
    assert paths(api.get("/completions", params={"tag": names})) == ["/query/tag"]
