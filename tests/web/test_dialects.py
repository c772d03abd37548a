"""A dialect is one folder and one line: a foreign one is registered here, beside Log10's, and stays to itself."""

import gzip
import json
import logging
from collections.abc import Collection, Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response
from starlette.routing import Route

from log10_server.db.database import Database
from log10_server.errors import Refusal
from log10_server.settings import Limits, Settings
from log10_server.web.app import DIALECTS, create_app
from log10_server.web.http.authentication import AuthenticationMiddleware, Dialects, routes_of
from log10_server.web.http.body import RequestBody
from log10_server.web.http.call import RequestContext
from log10_server.web.http.dialect import Dialect, HeaderCredential, Headers
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.fields import RequestModel
from log10_server.web.http.problems import status_of
from tests.conftest import Api, Organization, Served, problem, serve

# The foreign dialect: in the product this would be a folder.

MOST = 100_000


class Event(RequestModel):
    """What the foreign API is sent."""

    event: str = Field(max_length=50)


router = APIRouter(route_class=Endpoint)


@router.post("/api/projects/{project:id}/events", response_model=None)
async def capture(project: Annotated[str, Path()], body: Event, context: RequestContext) -> dict[str, Any]:
    """Answer what was understood, and for whom."""
    return {"project": project, "event": body.event, "organization": context.organization.id}


@router.get("/foreign", response_model=None)
async def hello(context: RequestContext) -> dict[str, Any]:
    """Tell who calls."""
    return {"actor": context.actor.id}


class TokenInBody:
    """The token is the member `api_key` of the body, or a bearer token."""

    _header = HeaderCredential(frozenset({b"authorization"}), "", scheme="Bearer")

    async def find_tokens(self, headers: Headers, body: RequestBody) -> Collection[str]:
        tokens = set(await self._header.find_tokens(headers, body))
        content = await body.read(MOST)
        if content:
            tokens.add(json.loads(content).get("api_key", ""))
        return tokens - {""}

    def explain_missing(self, headers: Headers) -> str:
        return "Where is your api_key?"


def refuse(refusal: Refusal) -> Response:
    status = status_of(refusal)
    return Response(json.dumps({"oops": refusal.detail}), status, media_type="application/json")


FOREIGN = Dialect(
    name="foreign",
    routers=(router,),
    prefixes=("/api/projects", "/foreign"),
    credential=TokenInBody(),
    refuse=refuse,
    content_encodings=frozenset({"gzip"}),
    security_schemes={"ForeignKey": {"type": "http", "scheme": "bearer"}},
)


@pytest.fixture(scope="module")
def foreign(migrated: Database) -> Iterator[Served]:
    """The server with the foreign dialect: one line more."""
    settings = Settings(limits=Limits(body_bytes=MOST // 2))
    yield from serve(migrated, settings, dialects=(*DIALECTS, FOREIGN))


def sent(organization: Organization, **more: Any) -> bytes:
    return gzip.compress(json.dumps({"event": "e", "api_key": organization.token, **more}).encode())


GZIP = {"Content-Encoding": "gzip"}
GZIPPED = gzip.compress(b"{}")


def test_it_takes_its_token_from_a_compressed_body_on_a_path_inside_of_log10s(
    foreign: Served, database: Database, organization: Organization
) -> None:
    answer = httpx.post(foreign.url + "/api/projects/p1/events", content=sent(organization), headers=GZIP)

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"project": "p1", "event": "e", "organization": organization.id}


def test_it_takes_its_token_from_a_header(foreign: Served, database: Database, organization: Organization) -> None:
    answer = httpx.get(foreign.url + "/foreign", headers={"Authorization": f"bearer {organization.token}"})

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", ["/foreign", "/foreign/x", "/api/projects", "/api/projects/p1/events"])
def test_it_refuses_in_its_own_shape(foreign: Served, database: Database, path: str) -> None:
    answer = httpx.post(foreign.url + path, content=b"{}")

    assert (answer.status_code, answer.json()) == (401, {"oops": "Where is your api_key?"})


def test_the_token_of_another_dialect_does_not_count(
    foreign: Served, database: Database, organization: Organization
) -> None:
    headers = {"X-Log10-Token": organization.token}

    assert httpx.get(foreign.url + "/foreign", headers=headers).status_code == 401
    bearer = {"Authorization": f"Bearer {organization.token}"}
    detail = problem(httpx.get(foreign.url + "/api/v1/feedback", headers=bearer), 401, "unauthorized")["detail"]
    assert "X-Log10-Token" in detail


def test_two_different_tokens_are_refused(
    foreign: Served, database: Database, organization: Organization, other_api: Api
) -> None:
    headers = {**GZIP, "Authorization": f"Bearer {other_api.organization.token}"}

    answer = httpx.post(foreign.url + "/api/projects/p1/events", content=sent(organization), headers=headers)

    assert answer.status_code == 401


def test_an_unknown_path_of_its_own_is_not_found_and_a_wrong_method_is_said(
    foreign: Served, database: Database, organization: Organization
) -> None:
    headers = {"Authorization": f"Bearer {organization.token}"}

    assert httpx.get(foreign.url + "/foreign/x", headers=headers).status_code == 404
    refused = httpx.delete(foreign.url + "/foreign", headers=headers)
    assert refused.status_code == 405
    assert "oops" in refused.json()


def test_what_decompresses_to_more_than_the_limit_is_refused_before_it_is_held(
    foreign: Served, database: Database, organization: Organization
) -> None:
    bomb = sent(organization, padding="0" * 50_000_000)

    answer = httpx.post(foreign.url + "/api/projects/p1/events", content=bomb, headers=GZIP)

    assert len(bomb) < MOST
    assert (answer.status_code, list(answer.json())) == (413, ["oops"])


@pytest.mark.parametrize("broken", [b"not gzip", GZIPPED[:-4], GZIPPED + b"garbage"], ids=["plain", "cut", "garbage"])
def test_what_is_not_gzip_is_refused(foreign: Served, database: Database, broken: bytes) -> None:
    answer = httpx.post(foreign.url + "/api/projects/p1/events", content=broken, headers=GZIP)

    assert (answer.status_code, list(answer.json())) == (400, ["oops"])


def test_gzip_of_several_members_is_one_body(foreign: Served, database: Database, organization: Organization) -> None:
    text = json.dumps({"event": "e", "api_key": organization.token}).encode()
    body = gzip.compress(text[:20]) + gzip.compress(text[20:])

    answer = httpx.post(foreign.url + "/api/projects/p1/events", content=body, headers=GZIP)

    assert answer.status_code == 200, answer.text


def test_gzip_of_very_many_members_is_refused(foreign: Served, database: Database, organization: Organization) -> None:
    """A megabyte of members that hold nothing took 48 s, because each was a step of its own in a thread."""
    body = gzip.compress(b"") * 1000 + sent(organization)

    answer = httpx.post(foreign.url + "/api/projects/p1/events", content=body, headers=GZIP)

    assert (answer.status_code, list(answer.json())) == (400, ["oops"])


def test_a_token_with_half_of_a_surrogate_pair_is_unknown(foreign: Served, database: Database) -> None:
    """It was answered with 500, because such a text can't be encoded in UTF-8."""
    body = rb'{"event": "e", "api_key": "\ud800"}'

    answer = httpx.post(foreign.url + "/api/projects/p1/events", content=body)

    assert (answer.status_code, list(answer.json())) == (401, ["oops"])


def test_log10s_own_paths_do_not_change(foreign: Served, database: Database, organization: Organization) -> None:
    with Api(foreign.url, organization) as api:
        assert api.completion(id="c")["id"] == "c"
        problem(api.post("/completions", content=gzip.compress(b"{}"), headers=GZIP), 415, "wrong_media_type")


# What nobody owns


def test_a_path_that_nobody_owns_needs_a_good_token_and_is_not_there(
    serving: Served, api: Api, subtests: pytest.Subtests
) -> None:
    for method in ["GET", "POST", "DELETE", "OPTIONS"]:
        for path in ["/otel/y", "/graphqlx", "/v1/traces", "/docsx", "/healthz/x", "/admin", "/api2"]:
            with subtests.test(method=method, path=path):
                problem(httpx.request(method, serving.url + path), 401, "unauthorized")
                problem(
                    httpx.request(method, serving.url + path, headers={"X-Log10-Token": "unknown"}), 401, "unauthorized"
                )
                problem(api.request(method, serving.url + path), 404, "not_found")


def test_every_route_has_an_owner_and_those_without_a_token_are_known(serving: Served) -> None:
    """Whoever adds a public path must add it to this list as well."""
    dialects = Dialects(serving.app.state.dialects)
    public = {
        route.path
        for route in serving.app.routes
        if (owner := dialects.declared_owner_of(route.path.partition("/{")[0])) is not None and owner.is_public
    }
    unowned = [
        route.path for route in serving.app.routes if dialects.declared_owner_of(route.path.partition("/{")[0]) is None
    ]

    assert unowned == []
    assert public == {
        "/",
        "/docs",
        "/docs/start.js",
        "/docs/redoc.standalone.js",
        "/docs/{name}",
        "/redoc",
        "/openapi.json",
        "/favicon.ico",
        "/healthz",
        "/test_runs/{organization_id:id}/{run_id:id}/{secret:id}/report",
    }


def test_a_route_outside_of_its_dialects_paths_is_refused_at_the_start(database: Database) -> None:
    stray = Dialect("stray", (router,), credential=TokenInBody(), refuse=refuse, prefixes=("/foreign",))

    with pytest.raises(ValueError, match="lies under no path"):
        create_app(Settings(), database, (*DIALECTS, stray))


def test_a_plain_route_behind_a_credential_is_refused_at_the_start(database: Database) -> None:
    plain = APIRouter()
    plain.add_api_route("/plain", hello, response_model=None)
    dialect = Dialect("plain", (plain,), credential=TokenInBody(), refuse=refuse, prefixes=("/plain",))

    with pytest.raises(ValueError, match="must be an Endpoint"):
        create_app(Settings(), database, (*DIALECTS, dialect))


def test_two_dialects_can_not_own_one_path(database: Database) -> None:
    rival = Dialect("rival", (), credential=TokenInBody(), refuse=refuse, prefixes=("/api",))

    with pytest.raises(ValueError, match="belongs to log10 and to rival"):
        create_app(Settings(), database, (*DIALECTS, rival))


def test_a_content_encoding_that_nothing_decompresses_is_refused_at_the_start(database: Database) -> None:
    brotli = Dialect("brotli", (), credential=TokenInBody(), refuse=refuse, content_encodings=frozenset({"br"}))

    with pytest.raises(ValueError, match="accepts br"):
        create_app(Settings(), database, (*DIALECTS, brotli))


def test_the_authentication_middleware_is_in_front_of_all_other_middleware(database: Database) -> None:
    """FastAPI puts middleware of its own in front of ours, which would trace errors and limit bodies."""
    app = create_app(Settings(), database)

    assert isinstance(app.middleware_stack, AuthenticationMiddleware)


def test_an_error_on_a_public_path_is_answered_and_logged_like_any_other(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    public = APIRouter()

    @public.get("/broken")
    async def divide() -> float:
        return 1 / 0

    dialect = Dialect("broken", (public,), credential=None, refuse=refuse, paths=("/broken",))

    for served in serve(database, Settings(), dialects=(*DIALECTS, dialect)):
        answer = httpx.get(served.url + "/broken")

    assert (answer.status_code, list(answer.json())) == (500, ["oops"])
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.message.startswith("GET /broken: ZeroDivisionError")
    assert record.exc_info is None


def test_a_body_that_the_credential_has_read_is_still_bounded_for_the_endpoint(
    foreign: Served, database: Database, organization: Organization
) -> None:
    """The credential reads up to MOST bytes; the server takes half of that."""
    answer = httpx.post(
        foreign.url + "/api/projects/p1/events", content=sent(organization, padding="0" * (MOST - 500)), headers=GZIP
    )

    assert answer.status_code == 413


# HEAD


def test_head_is_answered_as_get_without_a_body(serving: Served, api: Api) -> None:
    api.completion(id="c", tags=["a"])
    api.task(["a"], id="t")
    for dialect in serving.app.state.dialects:
        for route in routes_of(dialect):
            assert isinstance(route, Route)
            if "GET" not in (route.methods or ()) or "{" in route.path or route.path == "/graphql":
                continue
            query = "?task_id=t" if route.path.endswith("training") else ""
            got = api.get(serving.url + route.path + query)
            head = api.head(serving.url + route.path + query)

            assert (head.status_code, head.content) == (got.status_code, b""), route.path
            assert head.headers.get("content-type") == got.headers.get("content-type"), route.path
            if "content-length" in head.headers:
                assert head.headers["content-length"] == got.headers["content-length"], route.path


def test_head_of_what_is_not_there_is_404_without_a_body(api: Api) -> None:
    answer = api.head("/completions/none")

    assert (answer.status_code, answer.content) == (404, b"")


def test_head_of_a_path_without_get_is_refused_by_its_own_name(api: Api) -> None:
    answer = api.head("/completions/batch")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_allow_names_head_wherever_it_names_get(api: Api) -> None:
    assert api.put("/completions").headers["allow"] == "GET, HEAD, POST"
