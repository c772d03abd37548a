"""Two lists of the versioned API in the envelope that `log10-io` pages through (docs/api.md, "Envelopes")."""

from typing import Annotated

from fastapi import APIRouter, Query
from msgspec import Raw
from msgspec.structs import asdict
from pydantic import BaseModel, Field
from starlette.routing import Match
from starlette.types import Scope

from log10_server.clock import utc
from log10_server.db.transaction import Tx
from log10_server.services import feedback, feedback_tasks
from log10_server.services.feedback import StoredFeedback
from log10_server.store.feedback import ACCEPTED
from log10_server.store.feedback_tasks import FeedbackTaskRow
from log10_server.strict_json import value, written
from log10_server.web.http.answers import Answer
from log10_server.web.http.call import RequestContext, call_of
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.fields import Limit, Offset
from log10_server.web.v1.feedback import Feedback, FeedbackPageQuery, FeedbackQueryBody, read_page_request
from log10_server.web.v1.feedback_tasks import ALL, Task


class Paged(Endpoint):
    """Takes the calls whose query carries `organization_id`, blank or not: only `log10-io`'s do."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        found = super().matches(scope)
        if found[0] is not Match.FULL:
            return Match.NONE, {}
        named = any(name == "organization_id" for name, _ in call_of(scope).query)
        return found if named else (Match.NONE, {})


router = APIRouter(prefix="/api/v1", route_class=Paged, include_in_schema=False)


class PagedFeedback(Feedback, kw_only=True):
    """Feedback with the name of its task."""

    task_name: str

    @classmethod
    def with_task(cls, matched: StoredFeedback, task_name: str) -> "PagedFeedback":
        """All that the versioned API answers, and the name."""
        return cls(**asdict(Feedback.of(matched)), task_name=task_name)


class PagedTask(Task, kw_only=True):
    """A task with its creation time in ISO 8601; its schema always has `required`."""

    created_at: str

    @classmethod
    def of_row(cls, row: FeedbackTaskRow) -> "PagedTask":
        """All that the versioned API answers, and the time."""
        members = {**asdict(Task.of(row)), "json_schema": with_required(row.json_schema)}
        return cls(**members, created_at=utc(row.created_at).isoformat(timespec="microseconds"))


class FeedbackPage(Answer, kw_only=True):
    """`total` counts what remains from `offset` on: the client asks for `total` rows and stops when it has them."""

    data: list[PagedFeedback]
    total: int
    offset: int
    limit: int


class TaskPage(Answer, kw_only=True):
    """As `FeedbackPage`, of feedback tasks."""

    data: list[PagedTask]
    total: int
    offset: int
    limit: int


class TaskPageQuery(BaseModel):
    offset: Offset = 0
    limit: Limit = Field(ALL)


@router.get("/feedback")
async def list_feedback(
    query: Annotated[FeedbackPageQuery, Query()], context: RequestContext, body: FeedbackQueryBody | None = None
) -> FeedbackPage:
    """Feedback with the names of its tasks, newest first."""
    filters, offset, limit = read_page_request(query, body, ACCEPTED, context.limits.page)

    def read(tx: Tx) -> tuple[list[StoredFeedback], dict[str, str], int]:
        rows, total = feedback.list_page_with_total(tx, filters, None, offset, limit)
        return rows, feedback_tasks.find_names(tx, [stored.feedback.task_id for stored in rows]), total

    rows, task_names, total = await context.read(read)
    data = [PagedFeedback.with_task(stored, task_names[stored.feedback.task_id]) for stored in rows]
    return FeedbackPage(data=data, total=max(total - offset, 0), offset=offset, limit=limit)


@router.get("/feedback_task")
async def list_tasks(query: Annotated[TaskPageQuery, Query()], context: RequestContext) -> TaskPage:
    """Feedback tasks, newest first."""
    limit = min(query.limit, context.limits.page)

    def read(tx: Tx) -> tuple[list[FeedbackTaskRow], int]:
        return feedback_tasks.list_newest(tx, None, query.offset, limit), feedback_tasks.count(tx, None)

    rows, total = await context.read(read)
    data = [PagedTask.of_row(row) for row in rows]
    return TaskPage(data=data, total=max(total - query.offset, 0), offset=query.offset, limit=limit)


def with_required(json_schema: str) -> Raw:
    """The schema with `required`: the `log10` command line reads it from every task, and fails where it is missing."""
    if "required" in value(json_schema):
        return Raw(json_schema)
    inside = json_schema.rstrip().removesuffix("}").rstrip()
    comma = "" if inside.endswith("{") else ","
    return Raw(f"{inside}{comma}{written('required')}:[]}}")
