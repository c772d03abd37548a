"""The search for tags by which `log10 completions --tags` finds their ids."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from log10_server.services import tags
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.fields import QueryText, Wire

router = APIRouter(prefix="/api/tags", route_class=Endpoint, include_in_schema=False)


class FoundTag(Wire):
    id: str
    name: str


class FoundTags(Wire):
    data: list[FoundTag]


class TagQuery(BaseModel):
    query: QueryText = ""


@router.get("/search")
async def search(query: Annotated[TagQuery, Query()], context: RequestContext) -> FoundTags:
    """Tags whose name contains the query; those used last for a blank one."""
    rows = await context.read(lambda tx: tags.search(tx, query.query))
    return FoundTags.made(data=[FoundTag.made(id=str(row.id), name=row.name) for row in rows])
