"""Sessions of the unversioned API."""

from fastapi import APIRouter

from log10_server.services import sessions
from log10_server.web.http.fields import Wire
from log10_server.web.http.endpoint import Call, NoBody, Route

router = APIRouter(prefix="/api/sessions", route_class=Route, include_in_schema=False)


class GivenSession(Wire):
    sessionID: str


@router.post("")
async def create(call: Call, _body: NoBody | None = None) -> GivenSession:
    """Make a session."""
    return GivenSession.made(sessionID=await call.write(sessions.create))
