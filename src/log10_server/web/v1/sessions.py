"""Creates sessions, and reads a session with its completions."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Path, Query
from msgspec import Meta
from pydantic import BaseModel, Field
from pydantic.config import JsonDict

from log10_server.db.transaction import Tx
from log10_server.services import completions, sessions
from log10_server.store.completions import CompletionRow, Cursor
from log10_server.store.pieces import Piece, Unread
from log10_server.store.sessions import SessionRow
from log10_server.web.http.answers import EXAMPLE_TIME_MS, Answer, Continued
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint, NoBody
from log10_server.web.http.fields import Limit
from log10_server.web.http.queries import refuse_unknown_parameters
from log10_server.web.v1.completions import Completion, read_further
from log10_server.web.v1.paging import DEFAULT_PAGE, NextCursor, PageCursor, encode_cursor

router = APIRouter(prefix="/api/v1/sessions", tags=["Sessions"], route_class=Endpoint)


_ANSWER: JsonDict = {"id": "session-1", "created_at_ms": EXAMPLE_TIME_MS}


class Session(Answer, kw_only=True):
    """A group of completions that belong together, such as one run of a program."""

    openapi_example: ClassVar[Mapping[str, Any]] = _ANSWER

    id: Annotated[str, Meta(description="The session's id.")]
    created_at_ms: Annotated[
        int | None, Meta(description="When the session was first used, in milliseconds since 1970 (UTC).")
    ] = None


class NewSession(Answer, kw_only=True):
    """A session that was just created."""

    openapi_example: ClassVar[Mapping[str, Any]] = {"session": {"id": "0c6f7e2a-5f0b-4f0e-9d35-2f4f7c1d9b60"}}

    session: Annotated[Session, Meta(description="The new session.")]


class SessionPage(Answer, kw_only=True):
    """A session and a page of its completions, oldest first."""

    openapi_example: ClassVar[Mapping[str, Any]] = {"session": _ANSWER, "completions": [Completion.openapi_example]}

    session: Annotated[Session, Meta(description="The session.")]
    completions: Annotated[list[Completion], Meta(description="The session's completions on this page.")]
    next_cursor: NextCursor = None


class SessionQuery(BaseModel):
    """The page of a session's completions."""

    limit: Limit = Field(DEFAULT_PAGE, description="How many completions to answer at most. More than 1000 means 1000.")
    cursor: PageCursor = None


@router.post("", operation_id="createSession", status_code=201)
async def create(context: RequestContext, _body: NoBody | None = None) -> NewSession:
    """Create a session. The request needs no body."""
    return NewSession(session=Session(id=await context.write(sessions.create)))


@router.get("/{sessionId:text}", operation_id="getSession")
@refuse_unknown_parameters
async def get(
    session_id: Annotated[str, Path(alias="sessionId", description="The session's id.", examples=["session-1"])],
    query: Annotated[SessionQuery, Query()],
    context: RequestContext,
) -> Continued[SessionPage]:
    """Get a session with its completions, oldest first."""
    limit, max_bytes = min(query.limit, context.limits.page), context.first_piece_bytes()

    def read(tx: Tx) -> tuple[SessionRow, Piece[CompletionRow], Cursor | None]:
        session = sessions.get(tx, session_id)
        ids, next_cursor = completions.list_of_session(tx, session_id, query.cursor, limit)
        return session, completions.read_piece(tx, Unread(ids), max_bytes), next_cursor

    session, (rows, unread), next_cursor = await context.read(read)
    page = SessionPage(
        session=Session(id=session.id, created_at_ms=session.created_at // 1000),
        completions=[Completion.of(row) for row in rows],
        next_cursor=encode_cursor(next_cursor),
    )
    return Continued(page, read_further(context, unread))
