"""Authentication middleware: finds the dialect that owns the path, the caller, and the route (docs/api.md, "Errors").

It handles requests before FastAPI and Starlette do. A path belongs to the dialect with the longest matching prefix. If
no dialect owns a path, the first dialect refuses the request, so that a path can't be public by mistake.
"""

import logging
from collections.abc import Sequence

from fastapi import FastAPI
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from log10_server.errors import InternalError, Refusal, Unauthorized, source_of
from log10_server.runtime.context import Context
from log10_server.runtime.runtime import Runtime
from log10_server.web.http.body import DECOMPRESSED
from log10_server.web.http.call import Call
from log10_server.web.http.dialect import Dialect
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.routing import RouteIndex, route_pattern
from log10_server.web.http.tokens import TokenFinder

log = logging.getLogger(__name__)


class Dialects:
    """Knows which dialect owns a path, and the routes of each dialect."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        """Check the dialects.

        Raises ValueError for a path that two dialects own, for a route that is outside the paths of its dialect, and
        for a content encoding that this server can't decompress.
        """
        self.default = dialects[0]
        self._by_prefix: dict[str, Dialect] = {}
        self._by_path: dict[str, Dialect] = {}
        self._routes: dict[str, RouteIndex] = {}
        for dialect in dialects:
            if unknown := dialect.content_encodings - DECOMPRESSED:
                raise ValueError(
                    f"The dialect {dialect.name} accepts {', '.join(unknown)}, which is not decompressed here"
                )
            for owners, paths in ((self._by_prefix, dialect.prefixes), (self._by_path, dialect.paths)):
                for path in paths:
                    if path in owners:
                        raise ValueError(f"{path} belongs to {owners[path].name} and to {dialect.name}")
                    owners[path] = dialect
        for dialect in dialects:
            self._routes[dialect.name] = RouteIndex([_checked(route, dialect, self) for route in routes_of(dialect)])

    def owner_of(self, path: str) -> Dialect:
        """Return the dialect that owns the path. If no dialect owns it, return the first dialect."""
        return self.declared_owner_of(path) or self.default

    def declared_owner_of(self, path: str) -> Dialect | None:
        """Return the dialect that owns the path, or None if no dialect owns it."""
        if path in self._by_path:
            return self._by_path[path]
        while path:
            if path in self._by_prefix:
                return self._by_prefix[path]
            path = path.rpartition("/")[0]
        return None

    def find_route(self, dialect: Dialect, scope: Scope, method: str) -> Route:
        """Return the route of a request that was sent with `method`.

        Raises NotFound, and NotAllowed if the path has no route for the method.
        """
        return self._routes[dialect.name].find(scope, method)


def routes_of(dialect: Dialect) -> list[BaseRoute]:
    """Return the routes of a dialect, in the order in which they are tried."""
    return [route for router in dialect.routers for route in router.routes]


def _checked(route: BaseRoute, dialect: Dialect, dialects: Dialects) -> BaseRoute:
    path = getattr(route, "path", "")
    if dialects.declared_owner_of(path.partition("/{")[0]) is not dialect:
        raise ValueError(f"The route {path} lies under no path of the dialect {dialect.name}")
    if not dialect.is_public and not isinstance(route, Endpoint):
        raise ValueError(f"The route {path} of the dialect {dialect.name} must be an Endpoint")
    return route


class AuthenticationMiddleware:
    """Authenticates requests, and passes them to their endpoints. Every exception is turned into an answer here."""

    def __init__(self, app: ASGIApp, server: FastAPI, runtime: Runtime, dialects: Dialects) -> None:
        """`app` is the next middleware. It handles lifespan events and requests for public paths."""
        self._app = app
        self._server = server
        self._runtime = runtime
        self._dialects = dialects
        self._tokens = TokenFinder(runtime)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        If the endpoint raises before it has started to answer, the exception becomes the answer; after that it is only
        logged. This method itself only raises when sending that answer fails, because nothing can be sent then.
        """
        scope["app"] = self._server
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method: str = scope["method"]
        is_head = method == "HEAD"
        if is_head:
            # HEAD is handled as GET, and the body of the answer is left out. The scope is copied, because uvicorn must
            # still see that the method is HEAD.
            scope = {**scope, "method": "GET"}
        started = False

        async def observed_send(message: Message) -> None:
            nonlocal started
            started = True
            if is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        dialect = self._dialects.default
        try:
            path: str = scope["path"]
            # A client whose LOG10_URL ends with a slash sends two slashes at the beginning of each path.
            if path.startswith("//"):
                scope["path"] = path = "/" + path.lstrip("/")
                scope["raw_path"] = b"/" + scope["raw_path"].lstrip(b"/")
            dialect = self._dialects.owner_of(path)
            if dialect.is_public:
                await self._app(scope, receive, observed_send)
                return
            scope["log10"] = call = await self._authenticated(Call(dialect, scope, receive, is_head))
            try:
                await self._dialects.find_route(dialect, scope, method).handle(scope, receive, observed_send)
            finally:
                call.body.release()
        except Exception as error:
            refusal = error if isinstance(error, Refusal) else InternalError("The server has a defect; it was logged.")
            if isinstance(refusal, InternalError):
                log.error("%s %s: %s at %s", method, route_pattern(scope), type(error).__name__, source_of(error))
            if not started:
                await dialect.refuse(refusal)(scope, receive, observed_send)

    async def _authenticated(self, call: Call) -> Call:
        """Set the context of the call, and return the call.

        Raises Unauthorized unless the request has exactly one token and this is valid, and Forbidden if a header or the
        query names an organization other than the token's.
        """
        credential = call.dialect.credential
        assert credential is not None
        headers = call.scope["headers"]
        tokens = await credential.find_tokens(headers, call.body)
        if not tokens:
            raise Unauthorized(credential.explain_missing(headers))
        if len(tokens) > 1:
            raise Unauthorized("The call carries more than one token.")
        (token,) = tokens
        caller = await self._tokens.find_caller(token)
        if caller is None:
            raise Unauthorized("The token is unknown or revoked.")
        call.context = Context(self._runtime, caller)
        call.body.count_for(caller.organization.id, self._runtime.held_bytes)
        call.check_organization_of_head()
        return call
