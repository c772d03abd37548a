"""Lists feedback and tasks in the format that `log10-io` expects (docs/api.md, "Envelopes")."""

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
from log10_server.web.v1.feedback_tasks import DEFAULT_PAGE as DEFAULT_TASK_PAGE
from log10_server.web.v1.feedback_tasks import Task


class EnvelopeEndpoint(Endpoint):
    """An endpoint for calls of `log10-io` only. The versioned API has separate endpoints at the same paths.

    `log10-io` always sends `organization_id` in the query, even if it is blank, and other clients do not send it.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request like its base class, but only if the query has `organization_id`."""
        match, child_scope = super().matches(scope)
        if match is Match.FULL and any(name == "organization_id" for name, _ in call_of(scope).query):
            return match, child_scope
        return Match.NONE, {}


router = APIRouter(prefix="/api/v1", route_class=EnvelopeEndpoint, include_in_schema=False)


class FeedbackWithTaskName(Feedback, kw_only=True):
    """Feedback with the name of its task."""

    task_name: str

    @classmethod
    def with_task(cls, matched: StoredFeedback, task_name: str) -> "FeedbackWithTaskName":
        """Build the answer of the versioned API, and add the name of the task."""
        return cls(**asdict(Feedback.of(matched)), task_name=task_name)


class TaskWithTime(Task, kw_only=True):
    """A task with its creation time in ISO 8601; its schema always has `required`."""

    created_at: str

    @classmethod
    def of_row(cls, row: FeedbackTaskRow) -> "TaskWithTime":
        """Build the answer of the versioned API, and add the creation time."""
        members = {**asdict(Task.of(row)), "json_schema": with_required(row.json_schema)}
        return cls(**members, created_at=utc(row.created_at).isoformat(timespec="microseconds"))


class FeedbackPage(Answer, kw_only=True):
    """A page of feedback, newest first.

    `total` counts only the rows from `offset` on, because `log10-io` requests as many rows as `total` says.
    """

    data: list[FeedbackWithTaskName]
    total: int
    offset: int
    limit: int


class TaskPage(Answer, kw_only=True):
    """A page of feedback tasks, newest first; `total` as in `FeedbackPage`."""

    data: list[TaskWithTime]
    total: int
    offset: int
    limit: int


class TaskPageQuery(BaseModel):
    """The query parameters of the list of tasks."""

    offset: Offset = 0
    limit: Limit = Field(DEFAULT_TASK_PAGE)


@router.get("/feedback")
async def list_feedback(
    query: Annotated[FeedbackPageQuery, Query()], context: RequestContext, body: FeedbackQueryBody | None = None
) -> FeedbackPage:
    """List accepted feedback with the names of its tasks, newest first."""
    filters, offset, limit = read_page_request(query, body, ACCEPTED, context.limits.page)

    def read(tx: Tx) -> tuple[list[StoredFeedback], dict[str, str], int]:
        rows, total = feedback.list_page_with_total(tx, filters, None, offset, limit)
        return rows, feedback_tasks.find_names(tx, [stored.feedback.task_id for stored in rows]), total

    rows, task_names, total = await context.read(read)
    data = [FeedbackWithTaskName.with_task(stored, task_names[stored.feedback.task_id]) for stored in rows]
    return FeedbackPage(data=data, total=max(total - offset, 0), offset=offset, limit=limit)


@router.get("/feedback_task")
async def list_tasks(query: Annotated[TaskPageQuery, Query()], context: RequestContext) -> TaskPage:
    """List feedback tasks, newest first."""
    limit = min(query.limit, context.limits.page)

    def read(tx: Tx) -> tuple[list[FeedbackTaskRow], int]:
        return feedback_tasks.list_newest(tx, None, query.offset, limit), feedback_tasks.count(tx, None)

    rows, total = await context.read(read)
    data = [TaskWithTime.of_row(row) for row in rows]
    return TaskPage(data=data, total=max(total - query.offset, 0), offset=query.offset, limit=limit)


def with_required(json_schema: str) -> Raw:
    """Return the schema with a member `required`.

    The `log10` command line reads this member of every task, and fails if it is missing.
    """
    if "required" in value(json_schema):
        return Raw(json_schema)
    inside = json_schema.rstrip().removesuffix("}").rstrip()
    comma = "" if inside.endswith("{") else ","
    return Raw(f"{inside}{comma}{written('required')}:[]}}")
