"""What stands in the first line of a call: its method, its path, the ids in it, and its query (docs/api.md, "Errors")."""

import re
import socket
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import httpx
import pytest
from fastapi.routing import APIRoute

from tests.conftest import Api, Served, paths, problem
from tests.web.test_authentication import answered, head

ENORMOUS = 10**30
# Longer than Python turns into a number by itself.
UNHEARD_OF = "9" * 5000

METHODS = {
    "/completions": "GET, HEAD, POST",
    "/completions/ungraded": "GET, HEAD",
    "/completions/batch": "POST",
    "/completions/one": "DELETE, GET, HEAD, POST",
    "/sessions": "POST",
    "/sessions/one": "GET, HEAD",
    "/feedback": "GET, HEAD, POST",
    "/feedback/one": "DELETE, GET, HEAD",
    "/feedback_task": "GET, HEAD, POST",
    "/feedback_task/one": "GET, HEAD, PATCH",
}

LISTS = ["/completions", "/completions/ungraded", "/feedback", "/feedback_task"]
OFFSETS = ["/completions/ungraded", "/feedback", "/feedback_task"]


def operations(served: Served) -> Iterator[tuple[str, str]]:
    """Method and path of every documented operation with an id in its path."""
    for route in served.app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema and "{" in route.path:
            for method in sorted(route.methods or ()):
                yield method, route.path_format


def bare(served: Served, api: Api, line: bytes) -> int:
    """The status of a call whose first line is sent as it is."""
    parts = urlsplit(served.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as raw:
        raw.sendall(head(api.organization, "LINE", "Content-Length: 2").replace(b"LINE", line) + b"{}")
        return answered(raw)[0]


# Methods and paths


def test_a_method_that_a_path_has_not_is_refused_with_those_that_it_has(api: Api, subtests: pytest.Subtests) -> None:
    for path, allowed in METHODS.items():
        with subtests.test(path=path, allowed=allowed):
            for method in ["HEAD", "OPTIONS", "PUT", "TRACE", "PATCH", "GET", "POST", "DELETE"]:
                answer = api.request(method, path)

                assert (answer.status_code == 405) == (method not in allowed.split(", ")), method
                if answer.status_code == 405:
                    assert answer.headers["Allow"] == allowed
                    if method != "HEAD":
                        problem(answer, 405, "method_not_allowed")


def test_an_unknown_path_is_not_found(api: Api, serving: Served, subtests: pytest.Subtests) -> None:
    for path in [
        "/nowhere",
        "/completions/",
        "/completions/one/",
        "/completions/one/two",
        "/completions/batch/",
        "/feedback/",
        "/feedback_task/",
        "/api",
        "/api/",
        "/api/v1",
        "/api/v2/completions",
        "/API/v1/completions",
        "/nothing-here",
    ]:
        with subtests.test(path=path):
            url = serving.url + path if path.startswith(("/api", "/API", "/nothing")) else path

            problem(api.get(url), 404, "not_found")


def test_a_doubled_slash_at_the_start_of_a_path_counts_as_one(
    api: Api, serving: Served, subtests: pytest.Subtests
) -> None:
    for start in ["/", "//", "///"]:
        with subtests.test(start=start):
            api.completion(id="one")

            assert bare(serving, api, f"GET {start}api/v1/completions/one HTTP/1.1".encode()) == 200
            assert bare(serving, api, f"GET {start}healthz HTTP/1.1".encode()) == 200


def test_no_spelling_of_a_path_gets_around_the_token(serving: Served, subtests: pytest.Subtests) -> None:
    for start in ["//", "/%2F", "/%61pi/../", "/./"]:
        with subtests.test(start=start):
            answer = httpx.get(f"{serving.url}{start}api/v1/completions")

            assert answer.status_code in {401, 404}


def test_a_percent_encoded_path_is_the_same_path(serving: Served, api: Api) -> None:
    assert bare(serving, api, b"GET /%61pi/v1/%63ompletions HTTP/1.1") == 200


# Ids in paths


def test_an_odd_id_in_a_path_is_only_not_found(serving: Served, api: Api) -> None:
    wrong: list[str] = []

    for method, path in operations(serving):
        for completion_id in [
            "none",
            "%00",
            "a%00b",
            "%ff",
            "%C3",
            "%ED%A0%80",
            "%F5%80%80%80",
            "%2F",
            "a%2Fb",
            "%2e%2e",
            "%25",
            "%",
            "%zz",
            "%0A",
            "a%0D%0Ab",
            "%7F",
            "%C2%85",
            "%EF%BB%BF",
            "%20",
            "%F0%9F%8D%8B",
            "%5C",
            "%3F",
            "%23",
            "a,b",
            "'%20OR%201=1--",
            "x" * 300,
            quote("ü" * 3000),
        ]:
            target = path[: path.index("{")] + completion_id
            status = bare(serving, api, f"{method} {target} HTTP/1.1".encode())
            made = method in {"POST", "DELETE"} and status in {200, 204, 405}
            if not (made or status in {404, 422}):
                wrong.append(f"{method} {target}: {status}")

    assert wrong == []


def test_an_id_that_is_no_utf_8_is_not_taken_for_another(serving: Served, api: Api) -> None:
    api.completion(id="a\ufffd")

    assert bare(serving, api, b"GET /api/v1/completions/a%ff HTTP/1.1") == 404


def test_an_id_with_odd_characters_is_read_back_by_its_path(api: Api, subtests: pytest.Subtests) -> None:
    for completion_id in ["ü", "a b", "🍋", "100%", "a+b", "'", '"', "~", ":", "None", "\u2028", "a=b&c", " "]:
        with subtests.test(id=completion_id):
            api.completion(id=completion_id)

            answer = api.get("/completions/" + quote(completion_id, safe=""))

            assert answer.json()["id"] == completion_id


def test_an_invalid_id_in_a_path_creates_nothing(api: Api, subtests: pytest.Subtests) -> None:
    for completion_id in ["%0A", "a%09", "a,b", "a%5Cb", "a%3Fb", "a%23b", "%7F", "x" * 256, "%C3%BC" * 128]:
        with subtests.test(id=completion_id):
            answer = api.post(f"/completions/{completion_id}", json={})

            assert paths(answer) == ["/id"]
            assert api.get("/completions").json() == {"completions": []}


def test_a_control_character_in_an_id_in_a_path_is_refused_by_every_method(serving: Served, api: Api) -> None:
    wrong: list[str] = []

    for method, path in operations(serving):
        for completion_id in ["%00", "one%0A", "%09one", "o%1Fne", "one%7F", "%C2%85", "o%00ne", "%0A"]:
            if "{sessionId}" not in path:
                answer = api.request(method, serving.url + re.sub(r"\{[^}]*\}", completion_id, path), json={})
                if answer.status_code != 422 or paths(answer) != ["/id"]:
                    wrong.append(f"{method} {path} {completion_id}: {answer.status_code}")

    assert wrong == []


def test_the_character_nul_in_the_id_of_a_session_is_refused(api: Api) -> None:
    for session_id in ["%00", "one%00", "a%00b"]:
        assert paths(api.get(f"/sessions/{session_id}")) == ["/id"]


def test_an_id_that_nothing_can_have_is_not_found(api: Api, subtests: pytest.Subtests) -> None:
    for completion_id in ["a,b", "a%5Cb", "a%3Fb", "a%23b", "x" * 256]:
        with subtests.test(completion_id=completion_id):
            problem(api.get(f"/completions/{completion_id}"), 404, "not_found")
            problem(api.delete(f"/completions/{completion_id}"), 404, "not_found")


def test_a_session_is_not_taken_for_one_whose_name_ends_in_a_line_break(api: Api) -> None:
    api.completion(session_id="one")

    problem(api.get("/sessions/one%0A"), 404)


@pytest.mark.parametrize("session_id", ["a/b", "a\nb", "one\n", "ü", "?#", "%2F", "a//b/"])
def test_a_session_with_an_odd_name_is_read_back_by_its_path(api: Api, session_id: str) -> None:
    api.completion(id="in-it", session_id=session_id)

    answer = api.get("/sessions/" + quote(session_id, safe=""))

    assert answer.json()["session"]["id"] == session_id, answer.text


# Queries


def test_an_invalid_limit_is_refused(api: Api, subtests: pytest.Subtests) -> None:
    for path in [*LISTS, "/sessions/one"]:
        with subtests.test(path=path):
            api.completion(session_id="one")

            for limit in [
                "abc",
                "0",
                "-1",
                "1.5",
                "1e3",
                "0x10",
                "\u0661",
                "-0",
                f"-{ENORMOUS}",
                f"-{UNHEARD_OF}",
                "1 000",
                "1,2",
                "true",
            ]:
                assert paths(api.get(path, params={"limit": limit})) == ["/query/limit"], limit


def test_a_limit_beyond_the_highest_or_none_at_all_is_taken(api: Api, subtests: pytest.Subtests) -> None:
    for path in [*LISTS, "/sessions/one"]:
        with subtests.test(path=path):
            api.completion(session_id="one")

            for limit in [str(ENORMOUS), UNHEARD_OF, "1001", "0050", "", " ", "None"]:
                assert api.get(path, params={"limit": limit}).status_code == 200, limit


def test_an_invalid_offset_is_refused(api: Api, subtests: pytest.Subtests) -> None:
    for path in OFFSETS:
        with subtests.test(path=path):
            for offset in ["-1", "abc", "1.5", f"-{ENORMOUS}", f"-{UNHEARD_OF}"]:
                assert paths(api.get(path, params={"offset": offset})) == ["/query/offset"], offset


@pytest.mark.parametrize("path", OFFSETS)
def test_an_offset_past_the_end_is_an_empty_page(api: Api, path: str) -> None:
    task = api.task(["tag"])
    api.completion(tags=["tag"])
    api.upload(task["id"], completion_tags_selector=["tag"])

    for offset in ["1", str(2**31), str(2**63 - 1), str(2**63), str(ENORMOUS), UNHEARD_OF]:
        answer = api.get(path, params={"offset": offset})

        assert answer.status_code == 200, answer.text
        assert answer.json() in ([], {"feedback": []}, {"completions": []}), offset


def test_an_invalid_date_is_refused(api: Api, subtests: pytest.Subtests) -> None:
    for name in ["created_from", "created_to"]:
        for path in ["/completions", "/feedback"]:
            with subtests.test(name=name, path=path):
                for moment in [
                    "yesterday",
                    "2026-02-30",
                    "2026-13-01",
                    "10000-01-01",
                    "-0001-01-01",
                    "0000-01-01",
                    "2026-01-31T25:00",
                    "2026-01-31T08:00:00+25:00",
                    "1706688000",
                    "1e400",
                    "2026-01-31\0",
                    "9" * 5000,
                ]:
                    assert paths(api.get(path, params={name: moment})) == [f"/query/{name}"], moment


def test_a_date_is_taken_to_the_edges_of_the_calendar(api: Api, subtests: pytest.Subtests) -> None:
    for path in ["/completions", "/feedback"]:
        with subtests.test(path=path):
            for moment in [
                "0001-01-01",
                "0001-01-01T00:00:00+23:59",
                "9999-12-31T23:59:59.999999-23:59",
                "2026-01-31",
                "2026-01-31T08:00",
                "2026-01-31T08:00:00Z",
                "2026-01-31T08:00:00.123456+00:00",
                "2026-01-31T08:00:00 00:00",
                "2026-01-31 08:00:00+01:00",
                "",
                " ",
                "None",
            ]:
                answer = api.get(path, params={"created_from": moment, "created_to": moment})

                assert answer.status_code == 200, answer.text


def test_an_invalid_value_of_a_parameter_is_refused(api: Api, subtests: pytest.Subtests) -> None:
    for path, name, content in [
        ("/feedback", "total", "maybe"),
        ("/feedback_task", "total", "2"),
        ("/feedback_task", "archived", "null"),
        ("/completions", "status", "done"),
        ("/completions", "status", "Finished"),
        ("/completions", "kind", "completion"),
        ("/completions", "cursor", "abc"),
        ("/completions", "cursor", "é"),
        ("/completions", "cursor", "%"),
        ("/completions", "cursor", "MTo\0"),
        ("/completions", "session_id", "\0"),
        ("/completions", "model", "gpt\0"),
        ("/completions/ungraded", "task_id", "a\0b"),
        ("/feedback", "completion_id", "\0"),
    ]:
        with subtests.test(path=path, name=name, content=content):
            assert paths(api.get(path, params={name: content})) == [f"/query/{name}"]


def test_an_invalid_tag_in_the_query_is_refused_with_the_name_of_the_parameter(api: Api) -> None:
    assert paths(api.get("/completions?tag=a&tag=%00")) == ["/query/tag"]


def test_an_unreadable_value_of_a_repeated_parameter_is_refused_wherever_it_stands(
    api: Api, serving: Served, subtests: pytest.Subtests
) -> None:
    for path, name, unreadable, readable in [
        ("/completions", "limit", "abc", "1"),
        ("/completions", "created_to", "yesterday", "2026-01-31"),
        ("/completions", "status", "done", "finished"),
        ("/completions", "cursor", "abc", "MTph"),
        ("/completions", "model", "\0", "gpt-4o"),
        ("/completions/ungraded", "offset", "-1", "0"),
        ("/feedback", "total", "maybe", "true"),
        ("/feedback", "filter", "grade >", "grade > 1"),
        ("/feedback_task", "archived", "2", "true"),
        ("/usage", "group_by", "week", "day"),
        ("/test_runs", "limit", "0", "1"),
        ("/export/training?task_id=one", "filter", "(", "grade > 1"),
        ("/api/completions", "limit", "abc", "1"),
        ("/api/completions", "createdFilter", "{", "{}"),
        ("/api/metrics/modelStats", "endDate", "2026-02-30", "2026-02-28"),
    ]:
        with subtests.test(path=path, name=name, unreadable=unreadable, readable=readable):
            url = serving.url + path if path.startswith("/api/") else path
            separator = "&" if "?" in path else "?"
            for values in [(unreadable, readable), (readable, unreadable), (readable, unreadable, "", readable)]:
                query = "&".join(f"{name}={quote(value)}" for value in values)
                answer = api.get(url + separator + query)

                assert paths(answer) == [f"/query/{name}"], query

            query = "&".join(f"{name}={quote(value)}" for value in (readable, readable, "", "None"))
            assert api.get(url + separator + query).status_code == 200


def test_of_a_repeated_parameter_the_last_readable_value_counts(api: Api) -> None:
    for name in ["one", "two", "three"]:
        api.completion(id=name)

    assert len(api.get("/completions?limit=1&limit=2").json()["completions"]) == 2
    assert len(api.get("/completions?limit=2&limit=1&limit=").json()["completions"]) == 1


def test_all_unreadable_values_of_a_query_are_named(api: Api) -> None:
    answer = api.get("/completions?limit=abc&created_to=x&limit=1&kind=chat&status=done")

    assert sorted(paths(answer)) == ["/query/created_to", "/query/limit", "/query/status"]


# The GET operations that Log10 had: its clients may send parameters that the server does not know.
LENIENT = {
    "/api/v1/completions/ungraded",
    "/api/v1/feedback",
    "/api/v1/feedback/{feedbackId}",
    "/api/v1/feedback_task",
    "/api/v1/feedback_task/{taskId}",
}


def test_an_unknown_parameter_is_refused_on_every_get_of_the_versioned_api_that_log10_did_not_have(
    serving: Served, api: Api
) -> None:
    wrong: list[str] = []
    for route in serving.app.routes:
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()) and route.path.startswith("/api/v1/"):
            path = re.sub(r"\{[^}]*\}", "one", route.path_format)
            answer = api.get(serving.url + path, params={"no_such_parameter": "1"})
            refused = answer.status_code == 422 and paths(answer) == ["/query/no_such_parameter"]
            if refused == (route.path_format in LENIENT):
                wrong.append(f"{route.path_format}: {answer.status_code}")

    assert wrong == []


@pytest.mark.parametrize(
    "path",
    [
        "/completions",
        "/completions/one",
        "/sessions/session",
        "/usage",
        "/export",
        "/export/training?task_id=one",
        "/test_runs",
    ],
)
def test_the_organization_is_a_known_parameter_everywhere(api: Api, path: str) -> None:
    api.completion(id="one", session_id="session")

    for organization in [api.organization.id, api.organization.slug, "", "None"]:
        separator = "&" if "?" in path else "?"
        assert api.get(f"{path}{separator}organization_id={organization}").status_code == 200

    problem(api.get(path, params={"organization_id": "another", "task_id": "one"}), 403, "wrong_organization")


def test_an_unknown_parameter_is_answered_with_the_nearest_known_one(api: Api, subtests: pytest.Subtests) -> None:
    for path, name, hint in [
        ("/completions", "tags", "did you mean `tag`?"),
        ("/completions", "Limit", "did you mean `limit`?"),
        ("/completions", "createdFrom", "did you mean `created_from`?"),
        ("/usage", "groupBy", "did you mean `group_by`?"),
        ("/usage", "organization", "did you mean `organization_id`?"),
        ("/export/training", "task", "did you mean `task_id`?"),
        ("/test_runs", "page", "there are `offset`, `limit`, `total` and `organization_id`."),
        ("/export", "limit", "the only one is `organization_id`."),
        ("/completions/one", "include", "the only one is `organization_id`."),
    ]:
        with subtests.test(path=path, name=name, hint=hint):
            answer = api.get(path, params={name: "1"})

            assert paths(answer) == [f"/query/{name}"]
            assert answer.json()["errors"][0]["message"] == f"There is no query parameter `{name}`; {hint}"


def test_an_unknown_parameter_is_refused_whatever_its_name_and_its_value(api: Api, subtests: pytest.Subtests) -> None:
    for query in ["tags=", "tags", "tags=None", "=", "%00=1", "%ff=%ff", "lim%20it=1", "limit[]=1"]:
        with subtests.test(query=query):
            answer = api.get(f"/completions?{query}")

            assert len(paths(answer)) == 1


def test_many_and_long_unknown_parameters_make_a_short_answer(api: Api) -> None:
    query = "&".join(f"{'x' * 300}{number}=1" for number in range(100))

    answer = api.get(f"/completions?{query}&tag=a&tags=b")

    assert len(paths(answer)) == 10
    assert "and 98 more" in answer.json()["detail"]
    assert len(answer.content) < 10_000


def test_nothing_between_two_separators_is_no_parameter(api: Api) -> None:
    assert api.get("/completions?&&limit=5&&").status_code == 200


@pytest.mark.parametrize("path", sorted(LENIENT))
def test_an_unknown_parameter_is_ignored_on_the_operations_that_log10_had(api: Api, serving: Served, path: str) -> None:
    api.task(["tag"], id="one")
    api.completion(tags=["tag"])
    api.upload("one", id="one", completion_tags_selector=["tag"])
    url = serving.url + re.sub(r"\{[^}]*\}", "one", path)

    for query in [
        "unknown=1",
        "tags=a",
        "offset=0&limit=5&organization_id=" + api.organization.id,
        "limit",
        "limit=",
        "limit=5&limit=6",
        "=",
        "&&",
        "%ff=%ff",
        "%00=1",
        "a" * 20_000,
        "task_id=",
    ]:
        assert api.get(f"{url}?{query}").status_code == 200, query


@pytest.mark.parametrize("name", ["task_id", "completion_id"])
@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_filter_in_a_body_is_none(api: Api, name: str, blank: str) -> None:
    task = api.task(["tag"])
    api.completion(tags=["tag"])
    uploaded = api.upload(task["id"], completion_tags_selector=["tag"])

    answer = api.request("GET", "/feedback", json={name: blank})

    assert answer.json() == {"feedback": [uploaded]}
