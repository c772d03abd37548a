"""Puts the house together: routers in order, admission before them, start and end of what runs beside."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware

from log10_server import __version__
from log10_server.db.database import Database
from log10_server.errors import NotAllowed, NotFound
from log10_server.runtime.runtime import Runtime
from log10_server.settings import Settings
from log10_server.web import docs, graphql, health, legacy, v1
from log10_server.web.http.endpoint import Door
from log10_server.web.http.problems import Problem, problem
from log10_server.web.legacy import reports
from log10_server.web.transfer import routes as transfer

_DESCRIPTION = """\
Log **completions** (one LLM request and its response, with tags and a session), say with **feedback tasks** what
feedback is wanted on which of them, and upload **feedback** that the task's JSON Schema accepts.

Every call carries a token of your organization in the header `X-Log10-Token`: press *Authorize*.
The examples of the first four sections work as they stand: first what makes things, then what reads, changes and
deletes them. A proposal must be uploaded (`"state": "proposed"`) before it can be rejected.
Refusals are `application/problem+json`; their `code` is for programs, their `detail` for people.
"""
_TAGS = [
    {"name": "Completions", "description": "LLM calls: log them, find them, see which want feedback."},
    {"name": "Sessions", "description": "What a program did in one go."},
    {"name": "FeedbackTasks", "description": "What feedback is wanted, and on which completions."},
    {"name": "Feedback", "description": "Values that a task's schema accepts, on completions."},
    {"name": "TestRuns", "description": "What `pytest --log10` ran: reports, and the completions of each test."},
    {"name": "Usage", "description": "How many calls, tokens and seconds, and how many calls succeed."},
    {"name": "Transfer", "description": "Everything of the organization as JSON Lines, to keep or to move."},
    {"name": "Health", "description": "Whether the server can answer."},
]


def create_app(settings: Settings, database: Database) -> FastAPI:
    """The server on a database that has been migrated. Its lifespan starts the writer, and drains it at the end."""
    runtime = Runtime(settings, database)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        runtime.start()
        try:
            yield
        finally:
            await runtime.close()

    app = FastAPI(
        title="log10-server",
        version=__version__,
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        servers=[{"url": settings.public_url}] if settings.public_url else None,
    )
    app.state.runtime = runtime
    reports.keep_secrets()
    # The same paths belong to two dialects: the older one takes its own calls first. Routes are taken over as they
    # are; FastAPI's `include_router` would wrap each in a router of its own.
    for router in (*legacy.ROUTERS, *graphql.ROUTERS, *v1.ROUTERS, transfer.router, health.router, docs.router):
        app.router.routes.extend(router.routes)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_middleware(Door, server=app, runtime=runtime)
    stack = app.build_middleware_stack()
    assert isinstance(stack, ServerErrorMiddleware)
    app.middleware_stack = stack.app  # the door itself, which answers errors too
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


async def _no_route(request: Request, error: Exception) -> Response:
    """What Starlette's router finds by itself: no such path, or no such method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        allow = (error.headers or {}).get("Allow", "") if isinstance(error, HTTPException) else ""
        return problem(NotAllowed(f"The path has no method {request.method}.", allow=allow))
    return problem(NotFound("There is no such path."))


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, with the shape of refusals."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
            servers=app.servers or None,
        )
        shape = TypeAdapter(Problem).json_schema(ref_template="#/components/schemas/{model}")
        _without_fastapis_own_refusals(document)
        _with_examples_of_parameters(document)
        schemas = document["components"]["schemas"]
        schemas |= shape.pop("$defs")
        schemas["Problem"] = shape
        app.openapi_schema = document
    return app.openapi_schema


def _without_fastapis_own_refusals(document: dict[str, Any]) -> None:
    """FastAPI adds a 422 of its own to operations with parameters; ours never sends that."""
    for path in document["paths"].values():
        for operation in path.values():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]
    for shape in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(shape, None)


def _with_examples_of_parameters(document: dict[str, Any]) -> None:
    """Swagger UI fills in the example of a parameter, and overlooks that of its schema, where FastAPI puts it."""
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                if examples := parameter["schema"].pop("examples", None):
                    parameter["example"] = examples[0]
