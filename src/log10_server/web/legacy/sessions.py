"""`POST /api/sessions`: create a session (docs/api.md, "The calls of log10-io")."""

from fastapi import APIRouter

from log10_server.services import sessions
from log10_server.web.http.answers import Answer
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint, NoBody

router = APIRouter(prefix="/api/sessions", route_class=Endpoint, include_in_schema=False)


class NewSession(Answer, kw_only=True):
    """A session that was just created."""

    sessionID: str


@router.post("")
async def create(context: RequestContext, _body: NoBody | None = None) -> NewSession:
    """Create a session."""
    return NewSession(sessionID=await context.write(sessions.create))
