"""`GET /api/tags/search` finds the ids of tags, for `log10 completions --tags`."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from log10_server.services import tags
from log10_server.web.http.answers import Answer
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.fields import QueryText

router = APIRouter(prefix="/api/tags", route_class=Endpoint, include_in_schema=False)


class Tag(Answer, kw_only=True):
    """A tag, with the id that lists of log rows filter by."""

    id: str
    name: str


class Tags(Answer, kw_only=True):
    """The tags that match a search."""

    data: list[Tag]


class TagQuery(BaseModel):
    """The query parameters of the search."""

    query: QueryText = ""


@router.get("/search")
async def search(query: Annotated[TagQuery, Query()], context: RequestContext) -> Tags:
    """List the tags whose name contains the query; for a blank query, the tags that were used last."""
    rows = await context.read(lambda tx: tags.search(tx, query.query))
    return Tags(data=[Tag(id=str(row.id), name=row.name) for row in rows])
