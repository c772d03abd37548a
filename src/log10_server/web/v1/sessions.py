"""Sessions: made, and read with their completions."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from log10_server.db.transaction import Tx
from log10_server.services import completions, sessions
from log10_server.store.completions import CompletionRow, Cursor
from log10_server.store.sessions import SessionRow
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint, NoBody
from log10_server.web.http.fields import Limit, QueryText, Wire
from log10_server.web.v1.completions import DEFAULT_PAGE, Completion, decode_cursor, encode_cursor

router = APIRouter(prefix="/api/v1/sessions", tags=["Sessions"], route_class=Endpoint)


class Session(Wire):
    """What a program did in one go."""

    id: str = Field(description="The session's id.")
    created_at_ms: int | None = Field(None, description="When it was first heard of, in milliseconds since 1970.")


class NewSession(Wire):
    session: Session = Field(description="The session that was made.")


class SessionPage(Wire):
    """A session and its completions in the order in which they began."""

    session: Session = Field(description="The session.")
    completions: list[Completion] = Field(description="Its completions on this page.")
    next_cursor: str | None = Field(None, description="Give it as `cursor` for the next page; absent on the last.")


class SessionQuery(BaseModel):
    limit: Limit = Field(DEFAULT_PAGE, description="How many completions at most; more than 1000 means 1000.")
    cursor: QueryText | None = Field(None, description="`next_cursor` of the page before.")


@router.post("", operation_id="createSession", status_code=201)
async def create(context: RequestContext, _body: NoBody | None = None) -> NewSession:
    """Create a session. It needs no body."""
    return NewSession.made(session=Session.made(id=await context.write(sessions.create)))


@router.get("/{sessionId:text}", operation_id="getSession")
async def get(
    session_id: Annotated[str, Path(alias="sessionId", description="The session's id.", examples=["session-1"])],
    query: Annotated[SessionQuery, Query()],
    context: RequestContext,
) -> SessionPage:
    """Fetch a session with its completions, the oldest first."""
    after, limit = decode_cursor(query.cursor), min(query.limit, context.limits.page)

    def read(tx: Tx) -> tuple[SessionRow, list[CompletionRow], Cursor | None]:
        return sessions.get(tx, session_id), *completions.list_of_session(tx, session_id, after, limit)

    session, rows, next_cursor = await context.read(read)
    return SessionPage.made(
        session=Session.made(id=session.id, created_at_ms=session.created_at // 1000),
        completions=[Completion.of(row) for row in rows],
        next_cursor=encode_cursor(next_cursor),
    )
