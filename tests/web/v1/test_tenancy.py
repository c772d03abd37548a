"""Whose call it is, and that nothing of one organization can be reached from another (docs/api.md, "Tokens and organizations"), over all routes."""

import re
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.routing import Route

from log10_server.db.database import Database
from log10_server.errors import Unauthorized
from log10_server.services import organizations
from log10_server.web.http.authentication import routes_of
from log10_server.web.http.dialect import Dialect
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.log10 import Log10Credential
from tests.conftest import Api, Organization, Served, problem

IDS = {"completionId": "completion", "taskId": "task", "feedbackId": "feedback", "sessionId": "session"}
HEADERS = ["X-Log10-Organization", "X-Log10-Organization-Id"]


def operations_of_all(served: Served) -> Iterator[tuple[Dialect, str, str, Endpoint]]:
    """Dialect, method, path and route of every operation of every dialect that asks for a token."""
    for dialect in served.app.state.dialects:
        for route in routes_of(dialect) if dialect.credential else ():
            assert isinstance(route, Endpoint)
            for method in sorted(route.methods or ()):
                yield dialect, method, route.path_format, route


def operations(served: Served) -> Iterator[tuple[str, str, Endpoint]]:
    """Those that take Log10's token and names of organizations. Other dialects prove their tenancy in their own tests."""
    for dialect, method, path, route in operations_of_all(served):
        if isinstance(dialect.credential, Log10Credential):
            yield method, path, route


def test_without_a_token_every_operation_of_every_dialect_is_refused_in_the_shape_of_its_dialect(
    serving: Served, database: Database
) -> None:
    for dialect, method, path, _ in operations_of_all(serving):
        shape = dialect.refuse(Unauthorized("Who calls?"))
        answer = httpx.request(method, url(serving, filled(path, "no")), content=b"{}")

        assert answer.status_code == shape.status_code, (dialect.name, method, path)
        assert answer.headers["content-type"] == shape.headers["content-type"], (dialect.name, method, path)


def test_every_route_of_the_server_is_either_walked_here_or_public(serving: Served) -> None:
    walked = {(path, method) for _, method, path, _ in operations_of_all(serving)}
    public = {
        id(route) for dialect in serving.app.state.dialects if not dialect.credential for route in routes_of(dialect)
    }

    for route in serving.app.routes:
        assert isinstance(route, Route)
        if id(route) not in public and route.path != "/openapi.json":
            assert {(route.path_format, method) for method in route.methods or ()} <= walked


def filled(path: str, prefix: str) -> str:
    """The path with ids of what `inhabited` makes under `prefix`; of other kinds there is nothing."""
    return re.sub(r"{(\w+)}", lambda match: f"{prefix}-{IDS.get(match[1], match[1])}", path)


def url(served: Served, path: str) -> str:
    return served.url + path


def inhabited(api: Api, prefix: str) -> None:
    """One of everything in an organization, under ids that begin with `prefix`."""
    api.completion(id=f"{prefix}-completion", tags=[f"{prefix}-tag"], session_id=f"{prefix}-session")
    api.task([f"{prefix}-tag"], id=f"{prefix}-task")
    api.upload(f"{prefix}-task", id=f"{prefix}-feedback", completion_ids=[f"{prefix}-completion"], state="proposed")


def everything(api: Api) -> list[str]:
    paths = ["/completions", "/completions/ungraded", "/feedback?state=all", "/feedback_task"]
    return [api.get(path).text for path in paths]


# Tokens

TOKENS: list[list[str]] = [[], [""], ["unknown"], ["x" * 5000], ["OWN", "unknown"], ["OWN", "OTHER"], ["own"]]


@pytest.mark.parametrize("tokens", TOKENS)
def test_without_a_good_token_every_operation_is_refused_before_anything_else(
    serving: Served, api: Api, other_api: Api, tokens: list[str]
) -> None:
    token_values = {
        "OWN": api.organization.token,
        "OTHER": other_api.organization.token,
        "own": api.organization.token[:-1],
    }
    headers = [("X-Log10-Token", token_values.get(token, token)) for token in tokens]
    headers += [(HEADERS[0], "nobody"), ("Content-Type", "text/plain")]

    with httpx.Client(headers=headers) as client:
        for method, path, _ in operations(serving):
            target = url(serving, filled(path, "no")) + "?organization_id=nobody&limit=0"
            problem(client.request(method, target, content=b"\xff{"), 401, "unauthorized")


def test_a_path_that_is_not_there_needs_a_token_too(
    serving: Served, database: Database, subtests: pytest.Subtests
) -> None:
    for method in ["GET", "PUT", "OPTIONS"]:
        for path in ["/api", "/api/", "/api/v1", "/api/v1/nothing", "/api/graphql", "//api/v1/x", "/api/v1/feedback/"]:
            with subtests.test(method=method, path=path):
                problem(httpx.request(method, url(serving, path)), 401, "unauthorized")


def test_the_same_token_twice_is_one_token(serving: Served, api: Api) -> None:
    headers = [("X-Log10-Token", api.organization.token)] * 2

    assert httpx.get(url(serving, "/api/v1/feedback"), headers=headers).status_code == 200


def test_a_token_is_taken_from_its_header_only(serving: Served, api: Api) -> None:
    token = api.organization.token
    headers = {"Authorization": f"Bearer {token}", "Cookie": f"X-Log10-Token={token}", "X-Api-Token": token}

    answer = httpx.get(url(serving, f"/api/v1/feedback?X-Log10-Token={token}"), headers=headers)

    problem(answer, 401, "unauthorized")


def test_a_refusal_does_not_repeat_the_token(serving: Served, database: Database) -> None:
    answer = httpx.get(url(serving, "/api/v1/feedback"), headers={"X-Log10-Token": "secret-of-somebody"})

    assert "secret" not in answer.text


def test_a_new_token_works_at_once_even_when_it_was_refused_before(
    serving: Served, database: Database, organization: Organization
) -> None:
    def call() -> int:
        headers = {"X-Log10-Token": "brought-along"}
        return httpx.get(url(serving, "/api/v1/feedback"), headers=headers).status_code

    before = call()
    with database.writing() as connection:
        organizations.issue_token(connection, database.clock, organization.id, "brought-along")

    assert (before, call()) == (401, 200)


def test_a_revoked_token_is_refused_within_a_second_and_others_go_on(
    serving: Served, database: Database, api: Api
) -> None:
    with database.writing() as connection:
        issued = organizations.issue_token(connection, database.clock, api.organization.id)

    def call() -> int:
        return httpx.get(url(serving, "/api/v1/feedback"), headers={"X-Log10-Token": issued.value}).status_code

    before = call()
    with database.writing() as connection:
        organizations.revoke_token(connection, database.clock, issued.row.id)
    until = time.monotonic() + 3  # three times what is promised
    while call() == 200 and time.monotonic() < until:
        time.sleep(0.05)

    assert before == 200
    assert call() == 401
    assert api.get("/feedback").status_code == 200


# The organization that a call names


@pytest.fixture
def names(api: Api, other_api: Api) -> dict[str, str]:
    mine, other = api.organization, other_api.organization
    return {"MY ID": mine.id, "MY SLUG": mine.slug, "OTHER ID": other.id, "OTHER SLUG": other.slug}


@pytest.mark.parametrize(
    ("place", "named"),
    [
        (place, named)
        for place in (*HEADERS, "query", "body")
        for named in ("MY ID", "MY SLUG", "", " ", "None")
        if place not in HEADERS or named != " "  # a header holds no blanks at its ends
    ],
)
def test_a_call_may_name_its_own_organization_or_none(api: Api, names: dict[str, str], place: str, named: str) -> None:
    named = names.get(named, named)
    headers = {place: named} if place in HEADERS else {}
    params = {"organization_id": named} if place == "query" else {}
    body = {"organization_id": named} if place == "body" else {}

    assert api.post("/completions", json=body, params=params, headers=headers).status_code == 201


@pytest.mark.parametrize("place", [*HEADERS, "query", "body"])
def test_a_call_that_names_another_organization_is_refused(
    api: Api, names: dict[str, str], place: str, subtests: pytest.Subtests
) -> None:
    for named in ["OTHER ID", "OTHER SLUG", "nobody", "none", "null", "NONE", "*", "MY ID,OTHER ID", "'"]:
        with subtests.test(named=named):
            named = names.get(named, named)
            headers = {place: named} if place in HEADERS else {}
            params = {"organization_id": named} if place == "query" else {}
            body = {"organization_id": named} if place == "body" else {}

            answer = api.post("/completions", json=body, params=params, headers=headers)

            problem(answer, 403, "wrong_organization")
            assert api.get("/completions").json()["completions"] == []


def test_an_organization_of_another_type_in_the_body_is_refused(api: Api, subtests: pytest.Subtests) -> None:
    for wrong in [0, 1, False, True, 1.5, [], {}, ["MY ID"], {"id": "MY ID"}, "a\0b"]:
        with subtests.test(wrong=wrong):
            problem(api.post("/completions", json={"organization_id": wrong}), 403, "wrong_organization")


def test_null_in_the_body_names_no_organization(api: Api) -> None:
    assert api.post("/completions", json={"organization_id": None}).status_code == 201


def test_one_wrong_name_among_right_ones_is_refused(api: Api, names: dict[str, str], subtests: pytest.Subtests) -> None:
    for wrong in range(5):
        with subtests.test(wrong=wrong):
            organization_names = [names["OTHER ID"] if place == wrong else api.organization.id for place in range(5)]
            headers = [(HEADERS[0], organization_names[0]), (HEADERS[1], organization_names[1])]
            query = f"organization_id={organization_names[2]}&organization_id={organization_names[3]}"

            answer = api.post(f"/completions?{query}", headers=headers, json={"organization_id": organization_names[4]})

            problem(answer, 403, "wrong_organization")


@pytest.mark.parametrize("place", [*HEADERS, "query"])
def test_every_operation_refuses_another_organizations_name(
    serving: Served, api: Api, other_api: Api, place: str
) -> None:
    named = other_api.organization.id
    headers = {place: named} if place in HEADERS else {}
    params = {"organization_id": named} if place == "query" else {}

    for method, path, _ in operations(serving):
        answer = api.request(method, url(serving, filled(path, "no")), params=params, headers=headers, content=b"{")
        problem(answer, 403, "wrong_organization")


def test_every_operation_with_a_body_refuses_another_organization_in_it(
    serving: Served, api: Api, other_api: Api
) -> None:
    body = {"organization_id": other_api.organization.id, "json_values": 5, "name": 5, "tags": 5}

    for method, path, route in operations(serving):
        if route.plan.body is not None:
            answer = api.request(method, url(serving, filled(path, "no")), json=body)
            problem(answer, 403, "wrong_organization")


# What another organization has


def test_another_organizations_ids_answer_like_those_that_do_not_exist(
    serving: Served, api: Api, other_api: Api
) -> None:
    inhabited(other_api, "their")
    before = everything(other_api)

    for method, path, _ in operations(serving):
        if "{" not in path or (method == "POST" and path.endswith("completions/{completionId}")):
            continue  # a row posted under such an id makes one's own: below
        body = {"name": "mine"} if method == "PATCH" else {}
        content = None if method in ("GET", "DELETE") else body
        other, absent = (
            api.request(method, url(serving, filled(path, prefix)), json=content) for prefix in ("their", "no-no")
        )
        assert (method, path, other.status_code) == (method, path, absent.status_code) == (method, path, 404)
        assert other.text.replace("their-", "no-no-") == absent.text
        assert sorted(other.headers) == sorted(absent.headers)
    assert everything(other_api) == before


@pytest.mark.parametrize("path", ["/api/v1/completions/{}", "/api/completions/{}"])
def test_a_row_under_another_organizations_id_makes_a_row_of_ones_own(
    serving: Served, api: Api, other_api: Api, path: str
) -> None:
    inhabited(other_api, "their")
    before = everything(other_api)

    answer = api.post(url(serving, path.format("their-completion")), json={"status": "started"})
    mine = api.get("/completions/their-completion").json()

    assert answer.status_code == 200
    assert mine["organization_id"] == api.organization.id
    assert "session_id" not in mine
    assert mine["tags"] == []
    assert everything(other_api) == before


@pytest.mark.parametrize(
    "query",
    [
        "/feedback?task_id=ID-task",
        "/feedback?completion_id=ID-completion",
        "/feedback?state=all&task_id=ID-task&total=true",
        "/feedback?organization_id=&task_id=ID-task",
        "/completions/ungraded?task_id=ID-task",
        "/completions?session_id=ID-session",
        "/completions?tag=ID-tag",
    ],
)
def test_a_filter_by_what_another_organization_has_finds_nothing(api: Api, other_api: Api, query: str) -> None:
    inhabited(other_api, "their")

    other, absent = (api.get(query.replace("ID", prefix)) for prefix in ("their", "no-no"))

    assert other.status_code == 200
    assert (other.text, other.headers.get("X-Total-Count")) == (absent.text, absent.headers.get("X-Total-Count"))


@pytest.mark.parametrize(
    "target",
    [
        {"task_id": "ID-task", "completion_ids": ["my-completion"]},
        {"task_id": "my-task", "completion_ids": ["my-completion", "ID-completion"]},
        {"task_id": "my-task", "completion_tags_selector": ["ID-tag"]},
    ],
)
def test_feedback_cannot_name_what_another_organization_has(api: Api, other_api: Api, target: dict[str, Any]) -> None:
    inhabited(other_api, "their")
    inhabited(api, "my")
    bodies = [str(target).replace("ID", prefix).replace("'", '"') for prefix in ("their", "no-no")]

    other, absent = (api.post("/feedback", content=body[:-1] + ', "json_values": {}}') for body in bodies)

    problem(other, 422)
    assert other.text.replace("their-", "no-no-") == absent.text


def test_the_unversioned_lists_show_nothing_of_another_organization(serving: Served, api: Api, other_api: Api) -> None:
    inhabited(other_api, "their")
    tags = other_api.get(url(serving, "/api/tags/search?query=their")).json()["data"]

    answers = [
        api.get(url(serving, path))
        for path in (
            "/api/completions",
            "/api/completions?ids=their-completion",
            f"/api/completions?tagFilter={tags[0]['id']}",
            "/api/tags/search?query=their",
            "/api/tags/search?query=",
        )
    ]

    assert [answer.json()["data"] for answer in answers] == [[]] * 5


def test_the_same_ids_live_side_by_side_in_two_organizations(api: Api, other_api: Api) -> None:
    for client, comment in ((api, "mine"), (other_api, "theirs")):
        client.completion(id="x", tags=["x"], session_id="x", request={"of": comment})
        client.task(["x"], id="x", name=comment)
        client.upload("x", id="x", completion_tags_selector=["x"], comment=comment)

    for client, comment in ((api, "mine"), (other_api, "theirs")):
        assert client.get("/completions/x").json()["request"] == {"of": comment}
        assert client.get("/feedback_task/x").json()["name"] == comment
        assert client.get("/feedback/x").json()["comment"] == comment
        assert len(client.get("/sessions/x").json()["completions"]) == 1


def test_deleting_ones_own_leaves_the_same_ids_of_another_organization(api: Api, other_api: Api) -> None:
    for client in (api, other_api):
        inhabited(client, "x")
    before = everything(other_api)

    deleted = [api.delete("/completions/x-completion"), api.delete("/feedback/x-feedback")]
    api.patch("/feedback_task/x-task", json={"archived": True, "completion_tags_selector": []})

    assert [answer.status_code for answer in deleted] == [204, 204]
    assert everything(other_api) == before


# Which refusal comes first


def status(served: Served, line: str, more_headers: dict[str, str], body: bytes, length: int | None = None) -> int:
    """The status of a call that is sent as it is; `length` is what it claims."""
    parts = urlsplit(served.url)
    headers = {"Host": "x", "Connection": "close", "Content-Length": str(length or len(body)), **more_headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as raw:
        raw.sendall(f"{line} HTTP/1.1\r\n{head}\r\n".encode() + body)
        return int(raw.makefile("rb").readline().split()[1])


def test_refusals_come_in_their_order(serving: Served, api: Api, other_api: Api) -> None:
    inhabited(api, "my")
    text, token = {"Content-Type": "text/plain"}, {"X-Log10-Token": api.organization.token}
    wrong = {HEADERS[0]: other_api.organization.id}
    target, huge = "/api/v1/feedback_task/no", 1 << 40
    named = f'{{"organization_id":"{other_api.organization.id}","name":5}}'.encode()

    statuses = [
        status(serving, "PUT /api/v1/no?limit=0", {**text, **wrong}, b"{", huge),
        status(serving, "PUT /api/v1/no?limit=0", {**token, **text, **wrong}, b"{", huge),
        status(serving, "PUT /api/v1/no?limit=0", {**token, **text}, b"{", huge),
        status(serving, f"PUT {target}?limit=0", {**token, **text}, b"{", huge),
        status(serving, f"PATCH {target}", {**token, **text}, b"{", huge),
        status(serving, f"PATCH {target}", {**token, **text}, b"{"),
        status(serving, f"PATCH {target}", token, named[:-1]),
        status(serving, f"PATCH {target}", token, named),
        status(serving, f"PATCH {target}", token, b'{"name":5}'),
        status(serving, f"PATCH {target}", token, b'{"json_schema":{"a":1}}'),
        status(serving, "PATCH /api/v1/feedback_task/my-task", token, b'{"json_schema":{"a":1}}'),
    ]

    assert statuses == [401, 403, 404, 405, 413, 415, 400, 403, 422, 404, 409]


def test_a_path_with_something_behind_it_is_another_path(api: Api, subtests: pytest.Subtests) -> None:
    """Behind `ungraded` it is the id of a completion, which may hold no control characters."""
    for path in ["/feedback", "/feedback_task", "/completions", "/completions/ungraded"]:
        for end in ["%0A", "%00", "%20", "/", "%2F", "%0D%0A"]:
            with subtests.test(path=path, end=end):
                answer = api.get(path + end)

                if path.endswith("ungraded") and end in {"%0A", "%00", "%0D%0A"}:
                    assert [error["path"] for error in problem(answer, 422, "invalid")["errors"]] == ["/id"]
                else:
                    problem(answer, 404, "not_found")
