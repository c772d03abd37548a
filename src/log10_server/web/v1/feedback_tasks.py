"""Feedback tasks say what feedback is wanted, and on which completions."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Path, Query
from msgspec import Meta, Raw
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict

from log10_server.db.transaction import Tx
from log10_server.services import feedback_tasks
from log10_server.services.feedback_tasks import FeedbackTaskChanges, NewFeedbackTask
from log10_server.store.feedback_tasks import FeedbackTaskRow
from log10_server.web.http.answers import (
    EXAMPLE_ORGANIZATION,
    EXAMPLE_TIME_MS,
    Answer,
    ObjectText,
    Reply,
    StringsText,
    example_answer,
)
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.fields import (
    Flag,
    Id,
    JsonObject,
    LongText,
    Name,
    RequestModel,
    SelectorTags,
)
from log10_server.web.http.problems import documented
from log10_server.web.v1.paging import PageLimit, PageOffset

router = APIRouter(prefix="/api/v1/feedback_task", tags=["FeedbackTasks"], route_class=Endpoint)

# Clients expect all tasks on one page and do not read further pages (docs/api.md, "Lists").
DEFAULT_PAGE = 1000

_SCHEMA_EXAMPLE: JsonDict = {
    "id": "greeting-quality",
    "type": "object",
    "properties": {"grade": {"type": "integer", "minimum": 1, "maximum": 5}, "note": {"type": "string"}},
    "required": ["grade"],
}
_NAME = "What the task is called."
_INSTRUCTION = "What a reviewer should do."
_ARCHIVED = "Whether the task is archived. An archived task asks for no feedback and accepts none."
_SELECTOR = "The task asks for feedback on completions that have all of these tags. Without tags it asks for none."

_EXAMPLE: JsonDict = {
    "id": "greeting-quality",
    "name": "Greeting quality",
    "instruction": "Grade how friendly the greeting is, from 1 to 5.",
    "json_schema": _SCHEMA_EXAMPLE,
    "completion_tags_selector": ["greeting"],
}


_ANSWER: JsonDict = {
    "id": "greeting-quality",
    "organization_id": EXAMPLE_ORGANIZATION,
    "created_at_ms": EXAMPLE_TIME_MS,
    "name": "Greeting quality",
    "instruction": "Grade how friendly the greeting is, from 1 to 5.",
    "json_schema": _SCHEMA_EXAMPLE,
    "completion_tags_selector": ["greeting"],
    "archived": False,
}
_CHANGES: JsonDict = {"name": "Greeting quality, second round", "archived": False}


class Task(Answer, kw_only=True):
    """A request for feedback: what it should contain, and which completions it should be about."""

    openapi_example: ClassVar[Mapping[str, Any]] = _ANSWER

    id: Annotated[str, Meta(description="The task's id.")]
    organization_id: Annotated[str, Meta(description="The organization that the task belongs to.")]
    created_at_ms: Annotated[int, Meta(description="When the task was created, in milliseconds since 1970 (UTC).")]
    name: Annotated[str, Meta(description=_NAME)]
    instruction: Annotated[str, Meta(description=_INSTRUCTION)]
    json_schema: Annotated[
        ObjectText, Meta(description="The JSON Schema that feedback must satisfy, exactly as it was sent.")
    ]
    completion_tags_selector: Annotated[StringsText, Meta(description=_SELECTOR)]
    archived: Annotated[bool, Meta(description=_ARCHIVED)]

    @classmethod
    def of(cls, row: FeedbackTaskRow) -> "Task":
        """Build the answer from a row. The selector and the schema are answered as the text that is stored."""
        return cls(
            id=row.id,
            organization_id=row.organization_id,
            created_at_ms=row.created_at // 1000,
            name=row.name,
            instruction=row.instruction,
            json_schema=Raw(row.json_schema),
            completion_tags_selector=Raw(row.selector),
            archived=row.archived,
        )


def _empty_object_as_no_tags(selector: Any) -> Any:
    return [] if isinstance(selector, dict) and not selector else selector


# By mistake Log10's published document declares the selector as an object, so some clients send an empty object instead
# of an empty list (docs/api.md, "The versioned API").
SelectorOrNone = Annotated[SelectorTags | None, BeforeValidator(_empty_object_as_no_tags)]


class TaskUpload(RequestModel):
    """A new feedback task. Its schema is checked now and never changes."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    id: Id | None = Field(
        None, description="The task's id, if you want to choose it: then the same request again creates nothing new."
    )
    name: Name = Field(description=_NAME)
    instruction: LongText | None = Field(None, description="What a reviewer should do.")
    json_schema: JsonObject = Field(
        description="The JSON Schema (draft 4, 6, 7, 2019-09 or 2020-12) that feedback must satisfy."
    )
    completion_tags_selector: SelectorOrNone = Field(None, description=_SELECTOR)

    def to_new_task(self) -> NewFeedbackTask:
        """Return the task as an argument for the services."""
        return NewFeedbackTask(
            id=self.id,
            name=self.name,
            instruction=self.instruction or "",
            json_schema=str(self.json_schema),
            selector=tuple(self.completion_tags_selector or ()),
        )


class TaskChanges(RequestModel):
    """Changes to a feedback task. A member that is left out or `null` is not changed."""

    model_config = ConfigDict(json_schema_extra={"example": _CHANGES})

    name: Name | None = Field(None, description=_NAME)
    instruction: LongText | None = Field(None, description=_INSTRUCTION)
    completion_tags_selector: SelectorOrNone = Field(None, description=_SELECTOR)
    archived: bool | None = Field(None, description=_ARCHIVED)
    json_schema: JsonObject | None = Field(
        None,
        description="May be sent if it equals the stored schema; a schema never changes, so any other is refused with 409.",
    )

    def to_changes(self) -> FeedbackTaskChanges:
        """Return the changes as an argument for the services. A member that is None means no change."""
        selector = self.completion_tags_selector
        return FeedbackTaskChanges(
            name=self.name,
            instruction=self.instruction,
            selector=None if selector is None else tuple(selector),
            archived=self.archived,
            json_schema=None if self.json_schema is None else str(self.json_schema),
        )


class TaskQuery(BaseModel):
    """The query of the list of feedback tasks."""

    archived: Flag | None = Field(
        None,
        description="Whether to list only archived tasks (`true`) or only the others (`false`). Default: all tasks.",
    )
    offset: PageOffset = 0
    limit: PageLimit = DEFAULT_PAGE
    total: Flag = Field(
        False, description="Whether to count everything that matches. The count is in the header `X-Total-Count`."
    )


TaskId = Annotated[str, Path(alias="taskId", description="The feedback task's id.", examples=["greeting-quality"])]


@router.get("", operation_id="listFeedbackTasks")
async def list_tasks(query: Annotated[TaskQuery, Query()], context: RequestContext) -> Reply[list[Task]]:
    """List feedback tasks, newest first."""
    limit = min(query.limit, context.limits.page)

    def read(tx: Tx) -> tuple[list[FeedbackTaskRow], int | None]:
        rows = feedback_tasks.list_newest(tx, query.archived, query.offset, limit)
        return rows, feedback_tasks.count(tx, query.archived) if query.total else None

    rows, total = await context.read(read)
    return Reply([Task.of(row) for row in rows], {} if total is None else {"X-Total-Count": str(total)})


@router.post(
    "", operation_id="createFeedbackTask", responses=documented("id_taken", "invalid_schema", "validation_timeout")
)
async def create(body: TaskUpload, context: RequestContext) -> Task:
    """Create a feedback task. It also asks for feedback on completions that were logged before."""
    return Task.of(await feedback_tasks.create_task(context, body.to_new_task()))


@router.get("/{taskId:id}", operation_id="getFeedbackTask")
async def get(task_id: TaskId, context: RequestContext) -> Task:
    """Get a feedback task by its id."""
    return Task.of(await context.read(lambda tx: feedback_tasks.get(tx, task_id)))


@router.patch(
    "/{taskId:id}",
    operation_id="updateFeedbackTask",
    responses=documented("schema_is_fixed") | example_answer({**_ANSWER, **_CHANGES}),
)
async def change(task_id: TaskId, body: TaskChanges, context: RequestContext) -> Task:
    """Change or archive a feedback task. Its schema never changes."""
    return Task.of(await feedback_tasks.change_task(context, task_id, body.to_changes()))
