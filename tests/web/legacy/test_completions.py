"""Log rows of `log10-io` over HTTP: what they say, what they are answered, how they are listed (docs/api.md, "The calls of log10-io")."""

import json
import uuid
from typing import Any

import httpx
import pytest

from tests.conftest import Api, paths

ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
ROW: dict[str, Any] = {
    "status": "finished",
    "kind": "completion",
    "orig_module": "openai",
    "orig_qualname": "Completion.create",
    "request": '{"prompt": "Hi", "model": "m"}',
    "response": '{"choices": [{"text": "Hello"}]}',
    "stacktrace": '[{"file": "f", "line": "l", "lineno": 1, "name": "n"}]',
    "duration": 1234,
    "session_id": "s",
    "tags": ["one", "two"],
}


def call(api: Api, method: str, path: str, **options: Any) -> httpx.Response:
    """A call of the unversioned API."""
    return api.request(method, api.base_url.join(f"/api/{path}"), **options)


def log(api: Api, completion_id: str = ID, /, **fields: Any) -> httpx.Response:
    return call(api, "POST", f"completions/{completion_id}", json=fields)


def row(api: Api, completion_id: str = ID) -> dict[str, Any]:
    answer = call(api, "GET", f"completions/{completion_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["data"])


def test_an_id_given_out_is_a_version_4_uuid_and_no_completion_yet(api: Api) -> None:
    answer = call(api, "POST", "completions", json={"organization_id": api.organization.id})

    body = answer.json()
    assert answer.status_code == 200
    assert body["organizationSlug"] == api.organization.slug
    assert uuid.UUID(body["completionID"]).version == 4
    assert call(api, "GET", "completions").json() == {"data": [], "total": 0}


def test_a_row_comes_back_in_its_own_words(api: Api) -> None:
    assert log(api, **ROW).status_code == 200

    shown = row(api)

    assert shown["kind"] == "completion"
    assert shown["duration"] == 1234
    assert shown["request"] == {"prompt": "Hi", "model": "m"}
    assert shown["stacktrace"] == [{"file": "f", "line": "l", "lineno": 1, "name": "n"}]
    assert [tag["name"] for tag in shown["tagResolved"]] == ["one", "two"]
    assert all(isinstance(tag["id"], str) for tag in shown["tagResolved"])
    assert shown["created_at"].endswith("+00:00")
    assert len(shown["created_at"]) == len("2026-01-31T08:00:00.123456+00:00")


def test_the_versioned_api_shows_the_same_in_its_words(api: Api) -> None:
    log(api, **ROW)

    completion = api.get(f"/completions/{ID}").json()

    assert completion["kind"] == "prompt"
    assert completion["duration"] == 1.234
    assert completion["tags"] == ["one", "two"]


def test_a_start_that_comes_last_only_fills_gaps(api: Api) -> None:
    log(api, status="finished", response='{"choices": []}', duration=5)
    log(api, status="started", request='{"messages": []}', duration=1, tags=["late"])

    shown = row(api)
    assert shown["status"] == "finished"
    assert shown["duration"] == 5
    assert shown["request"] == {"messages": []}
    assert [tag["name"] for tag in shown["tagResolved"]] == ["late"]


def test_empty_tags_in_a_log_row_keep_the_stored_tags(api: Api) -> None:
    log(api, tags=["kept"])
    log(api, status="finished", tags=[])

    assert [tag["name"] for tag in row(api)["tagResolved"]] == ["kept"]


def test_a_blank_text_or_null_keeps_the_stored_payload(api: Api, subtests: pytest.Subtests) -> None:
    log(api, **ROW)

    for name in ["request", "response", "stacktrace"]:
        for text in ["", "  ", "null", None]:
            with subtests.test(name=name, text=text):
                assert log(api, **{name: text}).status_code == 200

                assert row(api)[name] == json.loads(str(ROW[name]))


def test_text_that_is_no_object_is_refused_with_its_field(api: Api, subtests: pytest.Subtests) -> None:
    for text in ["{", "nope", "NaN", '{"a": NaN}', "[1", '"text"', "1", "[]", "[" * 300 + "]" * 300]:
        with subtests.test(text=text):
            assert paths(log(api, request=text)) == ["/request"]


@pytest.mark.parametrize("payload", ['{"a":"\\u0000\\ud800","b":1e400,"c":[null,1.0,10]}', '{"é":"\\ud83d\\ude00"}'])
def test_payloads_come_back_exactly(api: Api, payload: str) -> None:
    log(api, request=payload)

    assert f'"request":{payload}' in call(api, "GET", f"completions/{ID}").text


def test_a_payload_may_come_as_an_object(api: Api) -> None:
    log(api, request={"messages": [None, 1.5]}, stacktrace=[{"file": "f"}])

    assert row(api)["request"] == {"messages": [None, 1.5]}


@pytest.mark.parametrize("duration", [1e306, 1.7e308, -1e308])
def test_a_duration_beyond_a_double_in_milliseconds_spoils_no_list(api: Api, duration: float) -> None:
    api.completion(id="long", duration=duration)

    answer = call(api, "GET", "completions")

    assert answer.status_code == 200
    assert "duration" not in answer.json()["data"][0]


def numbered(api: Api) -> list[str]:
    """Five rows, newest first; the even ones have the tag `even`, all have `all`."""
    for number in range(5):
        log(api, f"row-{number}", tags=["all", "even"] if number % 2 == 0 else ["all"])
    return [f"row-{number}" for number in reversed(range(5))]


def listed(api: Api, **query: Any) -> tuple[list[str], int]:
    answer = call(api, "GET", "completions", params=query)
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()["data"]], answer.json()["total"]


def test_rows_are_listed_newest_first_with_all_that_match_counted(api: Api) -> None:
    ids = numbered(api)

    assert listed(api) == (ids, 5)
    assert listed(api, limit=2, offset=1) == (ids[1:3], 5)
    assert listed(api, limit=2, offset=9) == ([], 5)


def test_rows_are_narrowed_by_tags_ids_and_dates(api: Api) -> None:
    ids = numbered(api)
    keys = {tag["name"]: tag["id"] for tag in row(api, "row-0")["tagResolved"]}

    assert listed(api, tagFilter=keys["even"]) == (ids[::2], 3)
    assert listed(api, tagFilter=f"{keys['all']},{keys['even']}") == (ids[::2], 3)
    assert listed(api, tagFilter="12") == ([], 0)
    assert listed(api, tagFilter=f"{keys['all']},nonsense") == ([], 0)
    assert listed(api, ids="row-1,row-3,none") == (["row-3", "row-1"], 2)
    assert listed(api, createdFilter='{"to": "2020-01-01T00:00:00.000Z"}') == ([], 0)
    assert listed(api, createdFilter='{"from": "2020-01-01T00:00:00.000Z"}') == (ids, 5)
    assert listed(api, createdFilter="{}", tagFilter="", ids="") == (ids, 5)


def test_a_date_as_the_end_of_the_created_filter_means_the_whole_day(api: Api) -> None:
    ids = numbered(api)
    first, last = (row(api, completion_id)["created_at"][:10] for completion_id in (ids[-1], ids[0]))

    assert listed(api, createdFilter=json.dumps({"from": first, "to": last})) == (ids, 5)
    assert listed(api, createdFilter=json.dumps({"to": f"{first}T00:00"})) == ([], 0)


@pytest.mark.parametrize("nothing", ["null", " null ", "", "None", '{"from": null, "to": ""}'])
def test_a_created_filter_of_null_counts_as_not_given(api: Api, nothing: str) -> None:
    ids = numbered(api)

    assert listed(api, createdFilter=nothing) == (ids, 5)


def test_a_created_filter_that_cant_be_read_is_refused(api: Api, subtests: pytest.Subtests) -> None:
    for created in ["x", "[]", '{"from": "x"}', '{"from": 5}', '{"to": true}', '{"from": 1e30}', "{"]:
        with subtests.test(created=created):
            answer = call(api, "GET", "completions", params={"createdFilter": created})

            assert paths(answer)[0].startswith("/query/createdFilter")


def tags(api: Api, **query: str) -> list[str]:
    answer = call(api, "GET", "tags/search", params=query)
    assert answer.status_code == 200, answer.text
    return [tag["name"] for tag in answer.json()["data"]]


def test_tags_are_found_by_what_they_contain_the_exact_name_first(api: Api) -> None:
    api.completion(tags=["Abcd", "abc", "xabcx", "100%", "a_c", "other"])

    assert tags(api, query="abc") == ["abc", "Abcd", "xabcx"]
    assert tags(api, query="%") == ["100%"]
    assert tags(api, query="a_c") == ["a_c"]
    assert tags(api, query="none") == []
    assert tags(api, query="x" * 60_000) == []


def test_a_blank_query_gives_the_tags_that_were_used_last(api: Api) -> None:
    api.completion(tags=["first"])
    api.completion(tags=["second"])
    api.completion(tags=["first"])

    assert tags(api) == ["first", "second"]


def test_a_session_is_made(api: Api) -> None:
    body = call(api, "POST", "sessions", json={"organization_id": api.organization.id}).json()

    assert api.get(f"/sessions/{body['sessionID']}").status_code == 200
