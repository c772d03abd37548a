"""Usage: calls, tokens, durations and success, by day, model, tag or status."""

from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from log10_server.runtime.runtime import LONG_TIMEOUT_SECONDS
from log10_server.services import usage
from log10_server.services.usage import Question
from log10_server.store.usage import Group, Sums
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.fields import Limit, QueryText, RangeEnd, RangeStart, Wire

router = APIRouter(prefix="/api/v1/usage", tags=["Usage"], route_class=Endpoint)

MOST_GROUPS = 1000

_EXAMPLE: JsonDict = {
    "calls": 2,
    "input_tokens": 9,
    "output_tokens": 3,
    "calls_with_unknown_tokens": 1,
    "mean_duration": 0.8,
    "p95_duration": 0.8,
    "success_rate": 1,
}


class Figures(Wire):
    """What calls add up to."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    calls: int = Field(description="How many completions.")
    input_tokens: int = Field(description="The input tokens of those that say how many; exact, however large.")
    output_tokens: int = Field(description="The output tokens of those that say how many; exact, however large.")
    calls_with_unknown_tokens: int = Field(description="How many do not say both token counts.")
    mean_duration: float | None = Field(
        None, description="The mean duration in seconds, of those that have one; absent when none has."
    )
    p95_duration: float | None = Field(
        None, description="The duration in seconds that 95 % do not exceed (nearest rank); absent when none has one."
    )
    success_rate: float | None = Field(
        None, description="Finished among finished and failed, from 0 to 1; absent when there is neither."
    )


class Line(Figures):
    """What the calls of one group add up to."""

    model_config = ConfigDict(json_schema_extra={"example": {"group": "gpt-4o", **_EXAMPLE}})

    group: str | None = Field(
        None, description="The day (`2026-01-31`, UTC), model (`unknown` without one), tag or status; absent ungrouped."
    )


class Usage(Wire):
    """Usage by group, and in all."""

    usage: list[Line] = Field(description="The groups in their order; ungrouped, one line.")
    total: Figures = Field(description="All calls that match, each once, those of groups beyond `limit` as well.")


class UsageQuery(BaseModel):
    group_by: Group | None = Field(
        None,
        description="What to group by; else there is one line. With `tag`, a call counts under each of its tags.",
    )
    created_from: RangeStart | None = Field(None, description="Only completions that began then or later.")
    created_to: RangeEnd | None = Field(
        None, description="Only completions that began then or earlier; a date without a time includes that whole day."
    )
    tag: list[QueryText] = Field([], description="A tag that the completion must have; repeat it for several.")
    model: QueryText | None = Field(
        None, description="Only completions of this model, by the name it was asked by; `unknown`: that name none."
    )
    limit: Limit = Field(MOST_GROUPS, description="How many groups at most; more than 1000 means 1000.")


@router.get("", operation_id="getUsage")
async def get(query: Annotated[UsageQuery, Query()], context: RequestContext) -> Usage:
    """Sum up completions: the newest days first, of other groups those with the most calls."""
    asked = Question(query.group_by, query.tag, query.model, query.created_from, query.created_to)
    limit = min(query.limit, context.limits.page)
    lines, total = await context.read(lambda tx: usage.of(tx, asked, limit), timeout=LONG_TIMEOUT_SECONDS)
    return Usage.made(
        usage=[Line.made(group=_shown(line), **_figures(line)) for line in lines], total=Figures.made(**_figures(total))
    )


def _shown(line: Sums) -> str | None:
    if isinstance(line.group, int):
        return str(date(1970, 1, 1) + timedelta(line.group))
    return line.group


def _figures(sums: Sums) -> dict[str, Any]:
    return {
        "calls": sums.calls,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "calls_with_unknown_tokens": sums.unknown,
        "mean_duration": sums.mean,
        "p95_duration": sums.p95,
        "success_rate": usage.success_rate(sums),
    }
