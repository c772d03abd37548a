"""Builds the application.

It consists of the dialects in their order, the middleware in front of them, and a lifespan that starts and ends the
runtime.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware

from log10_server import __version__
from log10_server.db.database import Database
from log10_server.errors import NotAllowed, NotFound
from log10_server.runtime.runtime import Runtime
from log10_server.services import background_work, ungraded_index
from log10_server.settings import Settings
from log10_server.web.http.authentication import AuthenticationMiddleware, Dialects, routes_of
from log10_server.web.http.dialect import Dialect
from log10_server.web.http.openapi import openapi
from log10_server.web.http.problems import problem
from log10_server.web.legacy import reports
from log10_server.web.log10 import GRAPHQL, LOG10
from log10_server.web.public import PUBLIC

_DESCRIPTION = """\
Log **completions** (an LLM request and its response, with tags and a session), describe in **feedback tasks** what
feedback you want on which completions, and upload **feedback** that satisfies the JSON Schema of its task.

Every request needs a token of your organization in the header `X-Log10-Token`: press *Authorize* to enter it.
You can execute the examples of the first four sections unchanged: first those that create something, then those that
read and change it, and last those that delete it. Only a proposal, which is feedback uploaded with
`"state": "proposed"`, can be rejected. Errors are answered as `application/problem+json`: `code` is for programs and
`detail` for people.
"""
_TAGS = [
    {"name": "Completions", "description": "Log LLM calls, find them, and list those that need feedback."},
    {"name": "Sessions", "description": "Group the completions that belong together, such as those of one run."},
    {"name": "FeedbackTasks", "description": "Describe what feedback you want, and on which completions."},
    {"name": "Feedback", "description": "Give feedback on completions, and review proposed feedback."},
    {
        "name": "TestRuns",
        "description": "Read the test runs of `pytest --log10`: reports, and the completions of each test.",
    },
    {"name": "Usage", "description": "Count calls, tokens, durations and successes."},
    {"name": "Transfer", "description": "Export the data of the organization as JSON Lines."},
    {"name": "Health", "description": "Check whether the server can answer."},
]


DIALECTS = (LOG10, GRAPHQL, PUBLIC)


def create_app(settings: Settings, database: Database, dialects: Sequence[Dialect] = DIALECTS) -> FastAPI:
    """Create the application for a database that has been migrated.

    Its lifespan starts the runtime, and at the end waits until all pending writes are stored. Requests for paths that
    no dialect owns are refused by the first dialect.
    """
    runtime = Runtime(settings, database, ungraded_index.continue_backfill, background_work)

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
    app.state.dialects = dialects
    reports.mask_secrets()
    # FastAPI's `include_router` would replace each route by a plain one, so the routes are added directly.
    for dialect in dialects:
        app.router.routes.extend(routes_of(dialect))
    app.add_exception_handler(HTTPException, _no_route)
    # The middleware is put together here, because the stack that FastAPI builds would be in front of ours, and answer
    # and trace errors that the authentication middleware answers itself. Behind it are the two parts of that stack that
    # the routes of public paths need: one calls the exception handlers, the other one closes files after a request.
    public = ExceptionMiddleware(AsyncExitStackMiddleware(app.router), handlers=app.exception_handlers)
    app.middleware_stack = AuthenticationMiddleware(public, app, runtime, Dialects(dialects))
    app.openapi = lambda: openapi(app, dialects)  # type: ignore[method-assign]
    return app


async def _no_route(request: Request, error: Exception) -> Response:
    """Answer the two errors that Starlette's own router raises.

    They are an unknown path, and a method that the path does not have.
    """
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        allow = (error.headers or {}).get("Allow", "") if isinstance(error, HTTPException) else ""
        return problem(NotAllowed(f"The path has no method {request.method}.", allow=allow))
    return problem(NotFound("There is no such path."))
