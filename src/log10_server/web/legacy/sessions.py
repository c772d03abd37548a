"""Sessions of the unversioned API."""

from fastapi import APIRouter

from log10_server.services import sessions
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint, NoBody
from log10_server.web.http.fields import Wire

router = APIRouter(prefix="/api/sessions", route_class=Endpoint, include_in_schema=False)


class GivenSession(Wire):
    sessionID: str


@router.post("")
async def create(context: RequestContext, _body: NoBody | None = None) -> GivenSession:
    """Make a session."""
    return GivenSession.made(sessionID=await context.write(sessions.create))
