"""`GET /api/metrics/modelStats`: the tokens of each model on each day (docs/api.md, "The calls of log10-io").

`/api/v1/usage` answers the same, and also calls, durations and success.
"""

import re
from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator
from pydantic_core import PydanticCustomError

from log10_server.services import usage
from log10_server.services.usage import DailyTokens
from log10_server.web.http.answers import Answer
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.fields import QueryText

router = APIRouter(prefix="/api/metrics", route_class=Endpoint, include_in_schema=False)

_EPOCH = date(1970, 1, 1)


class ModelDay(Answer, kw_only=True):
    """The tokens of one model on one day."""

    metric: str
    timestamp: str
    total_tokens: int
    input_tokens: int
    output_tokens: int
    completions_count: int
    model: str

    @classmethod
    def of(cls, row: DailyTokens) -> "ModelDay":
        """Build a row of token counts, with the names that Log10 gave its members."""
        return cls(
            metric="tokens_per_model_per_day",
            timestamp=f"{_EPOCH + timedelta(row.day)}T00:00:00.000Z",
            total_tokens=row.input_tokens + row.output_tokens,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            completions_count=row.calls,
            model=row.model,
        )


class ModelStats(Answer, kw_only=True):
    """The tokens of each model on each day."""

    data: list[ModelDay]


def _day(text: Any) -> Any:
    """Convert a date to the number of days since 1970.

    Only `YYYY-MM-DD` is accepted. `date.fromisoformat` would also accept other formats, such as a week and a day of it.
    """
    if isinstance(text, str):
        try:
            if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) is None:
                raise ValueError
            return (date.fromisoformat(text) - _EPOCH).days
        except ValueError:
            raise PydanticCustomError("day", "Must be a day such as 2026-01-31.") from None
    return text


Day = Annotated[int, BeforeValidator(_day)]


class StatsQuery(BaseModel):
    """The query parameters. A value of `tags` holds one tag or several with commas, and `tags` may be repeated."""

    startDate: Day | None = None
    endDate: Day | None = None
    tags: list[QueryText] = []


@router.get("/modelStats")
async def model_stats(query: Annotated[StatsQuery, Query()], context: RequestContext) -> ModelStats:
    """List the tokens of each model on each day (UTC), the newest day first."""
    tags = [tag for part in query.tags for tag in part.split(",") if tag.strip()]
    rows = await context.read_long(lambda tx: usage.tokens_per_model_per_day(tx, tags, query.startDate, query.endDate))
    return ModelStats(data=[ModelDay.of(row) for row in rows])
