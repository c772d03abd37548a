"""`/api/experimental/autoprompt`: Log10's improvement of prompts.

It needs an LLM, which this server does not have, so these calls are refused.
"""

from typing import NoReturn

from fastapi import APIRouter

from log10_server.errors import NotOffered
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint, NoBody

router = APIRouter(prefix="/api/experimental/autoprompt", route_class=Endpoint, include_in_schema=False)


@router.post("/convert")
@router.post("/report")
@router.post("/suggestions")
async def refuse(_call: RequestContext, _body: NoBody | None = None) -> NoReturn:
    """Raises NotOffered."""
    raise NotOffered("Autoprompt needs an LLM, and this server does not call any.")
