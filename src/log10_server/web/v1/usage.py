"""`GET /api/v1/usage`: calls, tokens, durations and success, by day, model, tag or status."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query
from msgspec import Meta
from pydantic import BaseModel, Field
from pydantic.config import JsonDict

from log10_server.services import durations, usage
from log10_server.services.usage import Group, UsageSelection, UsageSums
from log10_server.web.http.answers import Answer
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.fields import Limit, QueryText, RangeEnd, RangeStart
from log10_server.web.http.queries import refuse_unknown_parameters

router = APIRouter(prefix="/api/v1/usage", tags=["Usage"], route_class=Endpoint)

MAX_GROUPS = 1000

_EXAMPLE: JsonDict = {
    "calls": 1,
    "input_tokens": 9,
    "output_tokens": 3,
    "calls_with_unknown_tokens": 0,
    "mean_duration": 0.8,
    "p95_duration": 0.8,
    "success_rate": 1,
}


class Figures(Answer, kw_only=True):
    """Counts, tokens and durations of a group of completions."""

    openapi_example: ClassVar[Mapping[str, Any]] = _EXAMPLE

    calls: Annotated[int, Meta(description="How many completions there are.")]
    input_tokens: Annotated[
        int, Meta(description="The sum of the input tokens that are known. It is exact, however large.")
    ]
    output_tokens: Annotated[
        int, Meta(description="The sum of the output tokens that are known. It is exact, however large.")
    ]
    calls_with_unknown_tokens: Annotated[
        int, Meta(description="How many completions lack one of the two token counts, or both.")
    ]
    mean_duration: Annotated[
        float | None,
        Meta(description="The mean of the known durations in seconds. Absent when no completion has a duration."),
    ] = None
    p95_duration: Annotated[
        float | None,
        Meta(
            description="The duration in seconds that 95 % of the completions do not exceed (nearest rank). "
            "Absent when no completion has a duration."
        ),
    ] = None
    success_rate: Annotated[
        float | None,
        Meta(
            description="The share of finished completions among those that finished or failed, from 0 to 1. "
            "Absent when none did."
        ),
    ] = None

    @classmethod
    def of(cls, sums: UsageSums) -> "Figures":
        """Build the figures of all completions together."""
        return cls(
            calls=sums.calls,
            input_tokens=sums.input_tokens,
            output_tokens=sums.output_tokens,
            calls_with_unknown_tokens=sums.unknown,
            mean_duration=durations.mean(sums.mean),
            p95_duration=durations.compact(sums.p95),
            success_rate=usage.success_rate(sums),
        )


class UsageGroup(Figures, kw_only=True):
    """The figures of one group of completions."""

    openapi_example: ClassVar[Mapping[str, Any]] = {"group": "gpt-4o", **_EXAMPLE}

    group: Annotated[
        str | None,
        Meta(
            description="The day (`2026-01-31`, UTC), the model (`unknown` for none), the tag or the status. "
            "Absent without `group_by`."
        ),
    ] = None

    @classmethod
    def of_group(cls, sums: UsageSums) -> "UsageGroup":
        """Build the figures of one group, with its name."""
        figures = Figures.of(sums)
        return cls(
            group=_group_name(sums),
            calls=figures.calls,
            input_tokens=figures.input_tokens,
            output_tokens=figures.output_tokens,
            calls_with_unknown_tokens=figures.calls_with_unknown_tokens,
            mean_duration=figures.mean_duration,
            p95_duration=figures.p95_duration,
            success_rate=figures.success_rate,
        )


class Usage(Answer, kw_only=True):
    """Usage by group, and in total."""

    openapi_example: ClassVar[Mapping[str, Any]] = {"usage": [UsageGroup.openapi_example], "total": _EXAMPLE}

    usage: Annotated[list[UsageGroup], Meta(description="The groups in their order. Without `group_by` there is one.")]
    total: Annotated[
        Figures,
        Meta(description="All completions that match, each counted once, including those of groups beyond `limit`."),
    ]


class UsageQuery(BaseModel):
    """The query parameters of the usage."""

    group_by: Group | None = Field(
        None,
        description="What to group by. Without it there is one line. With `tag`, a call counts under each of its tags.",
        examples=["model"],
    )
    created_from: RangeStart | None = Field(None, description="Only completions created at this time or later.")
    created_to: RangeEnd | None = Field(
        None,
        description="Only completions created at this time or earlier. A date without a time includes that whole day in UTC.",
    )
    tag: list[QueryText] = Field(
        [], description="A tag that the completions must have. Repeat the parameter to name several."
    )
    model: QueryText | None = Field(
        None, description="Only completions whose request names this model. `unknown` means that it names none."
    )
    limit: Limit = Field(MAX_GROUPS, description="How many groups to answer at most. More than 1000 means 1000.")


@router.get("", operation_id="getUsage")
@refuse_unknown_parameters
async def get(query: Annotated[UsageQuery, Query()], context: RequestContext) -> Usage:
    """Sum up calls, tokens and durations by day, model, tag or status. Days are listed newest first, other groups by their number of calls."""
    selection = UsageSelection(query.group_by, query.tag, query.model, query.created_from, query.created_to)
    limit = min(query.limit, context.limits.page)
    groups, total = await context.read_long(lambda tx: usage.sum_usage(tx, selection, limit))
    return Usage(usage=[UsageGroup.of_group(sums) for sums in groups], total=Figures.of(total))


def _group_name(sums: UsageSums) -> str | None:
    """Return the name of a group. A day is stored as the number of days since 1970, and its name is the date."""
    if isinstance(sums.group, int):
        return str(date(1970, 1, 1) + timedelta(sums.group))
    return sums.group
