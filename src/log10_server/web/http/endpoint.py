"""Admission: who calls, then what comes (docs/api.md, "Tokens and organizations", "Errors").

`Door` stands before routing: it knows the token and the organization named by header and query. `Route` reads the
body: size, media type, JSON, the organization named in it, the members. FastAPI documents the same endpoints, but its
own reading and answering are not used: it parses a body before anything can be asked about the caller, rebuilds
payloads, and takes longer than the rest of a call.
"""

import asyncio
import hashlib
import inspect
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from typing import Annotated, Any, NamedTuple, get_args, get_origin
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from fastapi import Depends, Header, Security
from fastapi.params import Path, Query
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from log10_server.errors import (
    FieldError,
    Forbidden,
    InternalError,
    Invalid,
    Malformed,
    NotAllowed,
    NotFound,
    Refusal,
    TooLarge,
    Unauthorized,
    WrongMediaType,
    pointer,
    source_of,
)
from log10_server.runtime.runtime import LARGE_BODY, Context, Runtime
from log10_server.services import organizations
from log10_server.store.organizations import OrganizationRow
from log10_server.strict_json import members
from log10_server.web.http.fields import Reply, Wire, body_of
from log10_server.web.http.problems import documented, problem

log = logging.getLogger(__name__)

# A revoked token must be refused within a second (docs/api.md, "Tokens and organizations"), so a token is asked for again after half of one.
_TOKEN_SECONDS = 0.5
_TOKENS_KEPT = 10_000
# The one path outside `/api` that needs a token; `log10-io` carries it there in a header of another name (docs/api.md, "Tokens and organizations").
GRAPHQL = "/graphql"
_ORGANIZATION_HEADERS = {b"x-log10-organization", b"x-log10-organization-id"}
# Rows in an answer; more of them are put together in a thread.
_MANY_ROWS = 100


class Routes:
    """Finds the route of a call among those that begin as its path does; Starlette asks every route in turn.

    What is no route's here (another method, no such path) is left to Starlette's router.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._by_beginning: dict[str, list[Route]] = {}
        for route in routes:
            if isinstance(route, Route):
                beginning = route.path.partition("/{")[0]
                self._by_beginning.setdefault(beginning, []).append(route)

    def find(self, scope: Scope) -> "Route | None":
        """The route; `scope` knows then what it needs. Longer beginnings come first: fixed paths before ids."""
        beginning: str = scope["path"]
        while beginning:
            for route in self._by_beginning.get(beginning, ()):
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope.update(found)
                    return route
            beginning = beginning.rpartition("/")[0]
        return None


class Door:
    """Lets in calls under `/api`, and to `/graphql`, that carry a token, and brings them to their routes.

    It stands before all that FastAPI and Starlette do with a call, and is the last to see what went wrong.
    """

    def __init__(self, app: ASGIApp, server: Starlette, runtime: Runtime) -> None:
        """What no route of ours takes goes on to `app`, the rest of the middleware and the router of `server`."""
        self._app = app
        self._server = server
        self._routes = Routes(server.routes)
        self._runtime = runtime
        self._known: dict[bytes, tuple[float, OrganizationRow]] = {}
        self._asking: dict[bytes, asyncio.Task[OrganizationRow | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self._server
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            path: str = scope["path"]
            if path.startswith("//"):  # LOG10_URL with a slash at its end
                scope["path"] = path = "/" + path.lstrip("/")
                scope["raw_path"] = b"/" + scope["raw_path"].lstrip(b"/")
            if path.startswith("/api/") or path == "/api" or path == GRAPHQL:
                await self._admit(scope)
            route = self._routes.find(scope)
            if route is not None:
                await route.handle(scope, receive, noting_send)
            else:
                await self._app(scope, receive, noting_send)
        except Exception as error:
            refusal = error if isinstance(error, Refusal) else InternalError("The server has a defect; it was logged.")
            if isinstance(refusal, InternalError):
                log.error("%s %s: %s at %s", scope["method"], route_of(scope), type(error).__name__, source_of(error))
            if not started:
                await problem(refusal)(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        tokens: list[bytes] = []
        named: list[str] = []
        for name, content in scope["headers"]:
            if name == b"x-log10-token" or (name == b"x-api-token" and scope["path"] == GRAPHQL):
                tokens.append(content)
            elif name in _ORGANIZATION_HEADERS:
                named.append(content.decode("latin-1"))
        organization = await self._reached_by(tokens[0]) if len(set(tokens)) == 1 else None
        if organization is None:
            raise Unauthorized("The header X-Log10-Token is missing, or its token is unknown or revoked.")
        query: list[tuple[str, str]] = []
        if scope["query_string"]:
            query = parse_qsl(scope["query_string"].decode("utf-8", "replace"), keep_blank_values=True)
        named += [content for name, content in query if name == "organization_id"]
        for name in named:
            check_organization(organization, name)
        scope["log10"] = Admitted(organization, query)

    async def _reached_by(self, token: bytes) -> OrganizationRow | None:
        digest = hashlib.sha256(token).digest()
        known = self._known.get(digest)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        asking = self._asking.get(digest)
        if asking is None:  # many calls of one program ask together
            asking = self._asking[digest] = asyncio.create_task(self._ask(digest, token))
            asking.add_done_callback(_noted)
        return await asyncio.shield(asking)

    async def _ask(self, digest: bytes, token: bytes) -> OrganizationRow | None:
        asked_at = time.monotonic()
        value = token.decode("latin-1")
        try:
            found = await self._runtime.read_at_the_door(lambda connection: organizations.reached_by(connection, value))
        finally:
            del self._asking[digest]
        if len(self._known) >= _TOKENS_KEPT:
            self._known.clear()
        if found is None:
            self._known.pop(digest, None)
        else:
            self._known[digest] = asked_at + _TOKEN_SECONDS, found
        return found


def _noted(asking: asyncio.Task[OrganizationRow | None]) -> None:
    """Take notice of a failure that no caller waits for any more; asyncio would log it with its stack."""
    if not asking.cancelled():
        asking.exception()


class Admitted(NamedTuple):
    """What the door knows of a call: whose it is, and the names and values of its query."""

    organization: OrganizationRow
    query: list[tuple[str, str]]


def check_organization(organization: OrganizationRow, named: Any) -> None:
    """Raises Forbidden when `named` names another organization; null, blank and the word `None` name none."""
    if named is None or (isinstance(named, str) and named.strip() in {"", "None", organization.id, organization.slug}):
        return
    raise Forbidden("The call names an organization that is not the one of its token.")


class _IdConvertor(Convertor[str]):
    """An id in a path. Words that can't be ids are left to paths of their own."""

    regex = r"(?!(?:ungraded|batch|\.{1,2})(?:/|$))[^/]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _TextConvertor(_IdConvertor):
    """Any text to the end of a path, line breaks too: Starlette's `path` stops at one."""

    regex = r"[\s\S]+"


register_url_convertor("id", _IdConvertor())
register_url_convertor("text", _TextConvertor())


def _documented(
    _token: Annotated[
        str,
        Security(
            APIKeyHeader(name="X-Log10-Token", scheme_name="Log10Token", description="A token of your organization.")
        ),
    ],
    _organization: Annotated[
        str | None,
        Header(
            alias="X-Log10-Organization",
            description="The id or the slug of the token's organization. May be left out.",
        ),
    ] = None,
) -> Context:
    """What the OpenAPI document says of every call; `Door` and `Route` do it."""
    raise NotImplementedError


RequestContext = Annotated[Context, Depends(_documented)]


class BodyOf:
    """The body of a call, which its endpoint reads by itself, in parts."""

    __slots__ = ("_length", "_receive", "media_type")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._length, self.media_type = _headers_of_body(scope)
        self._receive = receive

    def check_length(self, most: int) -> None:
        """Raises TooLarge when more is promised."""
        if self._length is not None and self._length > most:
            raise TooLarge(f"The body is larger than {most} bytes.")

    async def parts(self, most: int) -> AsyncIterator[bytes]:
        """The body as it comes. Raises TooLarge as soon as it is known to be, Malformed when the caller goes away."""
        size = 0
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Malformed("The body ended before it was complete.")
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > most:
                raise TooLarge(f"The body is larger than {most} bytes.")
            more = message.get("more_body", False)
            yield part


def _undocumented() -> BodyOf:
    """The route itself says in its `openapi_extra` what its body is."""
    raise NotImplementedError


Stream = Annotated[BodyOf, Depends(_undocumented)]


class Plan(NamedTuple):
    """How the arguments of an endpoint are read."""

    body: type[Wire] | None
    body_name: str
    body_needed: bool
    query: type[BaseModel] | None
    query_name: str
    paths: dict[str, str]  # the argument for each name in the path
    call_name: str
    stream_name: str  # a body that the endpoint reads

    @classmethod
    def of(cls, endpoint: Callable[..., Any]) -> "Plan":
        """Raises TypeError for an argument that `Route` does not know how to read."""
        body: type[Wire] | None = None
        query: type[BaseModel] | None = None
        body_name = query_name = call_name = stream_name = ""
        body_needed = False
        paths: dict[str, str] = {}
        for name, parameter in inspect.signature(endpoint).parameters.items():
            kind, marks = _annotation(parameter.annotation)
            if kind is Context:
                call_name = name
            elif kind is BodyOf:
                stream_name = name
            elif any(isinstance(mark, Path) for mark in marks):
                alias = next(mark.alias for mark in marks if isinstance(mark, Path))
                paths[alias or name] = name
            elif any(isinstance(mark, Query) for mark in marks):
                query, query_name = kind, name
            elif isinstance(kind, type) and issubclass(kind, Wire):
                body, body_name, body_needed = kind, name, parameter.default is inspect.Parameter.empty
            else:
                raise TypeError(f"{endpoint.__name__}: {name} is no body, query, path or call")
        return cls(body, body_name, body_needed, query, query_name, paths, call_name, stream_name)


def _annotation(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    marks: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        annotation, *found = get_args(annotation)
        marks = tuple(found)
    optional = [part for part in get_args(annotation) if part is not type(None)]
    return (optional[0] if len(optional) == 1 else annotation), marks


class Route(APIRoute):
    """A documented route that reads and answers by itself; see the module."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.plan = Plan.of(endpoint)
        refusals = [401, 403, 500, 503]
        refusals += [400, 413, 415] if self.plan.body or self.plan.stream_name else []
        refusals += [422] if self.plan.body or self.plan.query else []
        refusals += [] if "GET" in (options.get("methods") or ()) else [400, 413, 422]  # a body that is looked into
        refusals += [404] if self.plan.paths else []
        options["responses"] = {**(options.get("responses") or {}), **documented(*sorted(set(refusals)))}
        super().__init__(path, endpoint, **options)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if not self.param_convertors and not scope.get("root_path"):
            if scope["path"] != self.path:
                return Match.NONE, {}
            match = Match.FULL if scope["method"] in (self.methods or ()) else Match.PARTIAL
            return match, {"endpoint": self.endpoint, "path_params": {}, "route": self}
        found = super().matches(scope)
        if scope["path"].endswith("\n") and self.path_regex.fullmatch(scope["path"]) is None:
            return Match.NONE, {}  # `$` in a path's pattern takes a line break for the end
        return found

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            raise NotAllowed(f"The path has no method {scope['method']}.", allow=_allowed(scope))
        answer = await self._answer(scope, receive)
        if isinstance(answer, Response):  # a stream, which has no one body
            await answer(scope, receive, send)
            return
        headers: list[tuple[bytes, bytes]] = []
        if isinstance(answer, Reply):
            answer, more = answer
            headers = [(name.lower().encode("latin-1"), content.encode("latin-1")) for name, content in more.items()]
        body = b""
        if answer is not None:
            body = await asyncio.to_thread(body_of, answer) if _is_long(answer) else body_of(answer)
            headers.append((b"content-length", str(len(body)).encode()))
            headers.append((b"content-type", b"application/json"))
        await send({"type": "http.response.start", "status": self.status_code or 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Any:
        plan, admitted = self.plan, scope["log10"]
        context = Context(scope["app"].state.runtime, admitted.organization, scope)
        arguments: dict[str, Any] = {plan.call_name: context} if plan.call_name else {}
        for alias, name in plan.paths.items():
            arguments[name] = path_id(scope, alias)
        if plan.stream_name:
            arguments[plan.stream_name] = BodyOf(scope, receive)
        elif plan.body is not None:
            arguments[plan.body_name] = await self._body(plan.body, scope, receive, context)
        elif scope["method"] != "GET":
            await self._body(NoBody, scope, receive, context)
        if plan.query is not None:
            arguments[plan.query_name] = _query(plan.query, admitted.query, context)
        return await self.endpoint(**arguments)

    async def _body(self, model: type[Wire], scope: Scope, receive: Receive, context: Context) -> Wire | None:
        body, media_type = await read_body(scope, receive, context.limits.body_bytes)
        context.size = len(body)
        is_json = says_json(media_type)
        if not self.plan.body_needed and (not body or (model is NoBody and not is_json)):
            return None
        said = await members_of(body, media_type, model.payloads, context.limits.nesting)
        check_organization(context.organization, said.get("organization_id"))

        def validated() -> Wire:
            try:
                return model.model_validate(said, context=context.limits)
            except ValidationError as error:
                raise Invalid(faults_of(error)) from None

        return await context.prepared(validated)


def _is_long(answer: Any) -> bool:
    if isinstance(answer, msgspec.Struct):
        members: Iterable[Any] = msgspec.structs.astuple(answer)
    else:
        members = answer.__dict__.values() if isinstance(answer, BaseModel) else (answer,)
    return any(isinstance(member, list) and len(member) > _MANY_ROWS for member in members)


class NoBody(Wire):
    """The body of a call that needs none: whatever it holds is ignored, but for an organization that it names."""


def faults_of(error: ValidationError, prefix: str = "") -> list[FieldError]:
    """What pydantic found, as pointers and rules."""
    return [FieldError(prefix + pointer(*path), message) for path, message in _found(error)]


def _found(error: ValidationError) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        yield found["loc"], found["msg"]


async def read_body(scope: Scope, receive: Receive, most: int) -> tuple[bytes, str | None]:
    """The body, and its Content-Type. Raises TooLarge as soon as it is known to be."""
    length, media_type = _headers_of_body(scope)
    return await _read(receive, length, most), media_type


def _headers_of_body(scope: Scope) -> tuple[int | None, str | None]:
    """How long the body says it is, and of what type. Raises WrongMediaType for a compressed one."""
    length = media_type = None
    for name, content in scope["headers"]:
        if name == b"content-length":
            length = int(content) if content.isdigit() else None
        elif name == b"content-type":
            media_type = content.decode("latin-1")
        elif name == b"content-encoding" and (encoding := content.decode("latin-1").strip().lower()) in _COMPRESSED:
            raise WrongMediaType(f"The body must not be compressed, and its Content-Encoding is {encoding!r}.")
    return length, media_type


_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress"})


async def members_of(body: bytes, media_type: str | None, payloads: Collection[str], nesting: int) -> dict[str, Any]:
    """As `strict_json.members`, in a thread for a large body. Raises WrongMediaType for what says it is not JSON."""
    if not says_json(media_type):
        raise WrongMediaType(f"The body must be JSON, not {media_type!r}: send Content-Type: application/json.")
    if len(body) > LARGE_BODY:
        return await asyncio.to_thread(members, body, payloads, nesting)
    return members(body, payloads, nesting)


async def _read(receive: Receive, length: int | None, most: int) -> bytes:
    """The body. Raises TooLarge as soon as it is known to be."""
    too_large = TooLarge(f"The body is larger than {most} bytes.")
    if length is not None and length > most:
        raise too_large
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Malformed("The body ended before it was complete.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise too_large
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def says_json(media_type: str | None) -> bool:
    """Whether a Content-Type means JSON in UTF-8; none at all does."""
    if media_type is None or not media_type.strip() or media_type == "application/json":
        return True
    main, *parameters = (part.strip().lower() for part in media_type.split(";"))
    if main != "application/json" and not (main.startswith("application/") and main.endswith("+json")):
        return False
    charsets = [part[8:].strip('"') for part in parameters if part.startswith("charset=")]
    return all(charset in {"utf-8", "utf8"} for charset in charsets)


def path_id(scope: Scope, alias: str) -> str:
    """An id in the path. Raises NotFound for bytes that are no text and for what can't be an id."""
    id: str = scope["path_params"][alias]
    try:
        unquote_to_bytes(scope["raw_path"]).decode()
    except UnicodeDecodeError:
        raise NotFound("The path is not UTF-8.") from None
    if "\0" in id:
        raise NotFound("There is nothing of this id.")
    return id


def _query(model: type[BaseModel], query: list[tuple[str, str]], context: Context) -> BaseModel:
    """The parameters of a query; a blank value, and the word `None`, count as not given (docs/api.md, "Errors")."""
    said: dict[str, Any] = {}
    for name, content in query:
        if content.strip() in {"", "None"}:
            continue
        field = model.model_fields.get(name)
        if field is None:
            continue
        if get_origin(field.annotation) is list:
            said.setdefault(name, []).append(content)
        else:
            said[name] = content
    try:
        return model.model_validate(said, context=context.limits)
    except ValidationError as error:
        raise Invalid(
            dict.fromkeys(FieldError("/query" + pointer(path[0]), message) for path, message in _found(error))
        ) from None


def _allowed(scope: Scope) -> str:
    methods: set[str] = set()
    for route in scope["app"].routes:
        if route.matches(scope)[0] != Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return ", ".join(sorted(methods))


def route_of(scope: Scope) -> str:
    """The route's pattern: a log names no ids."""
    return getattr(scope.get("route"), "path", "a path of no route")
