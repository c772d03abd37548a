"""`/api/v1/feedback`: upload, get, list and delete feedback, and accept or reject proposals."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from fastapi import APIRouter, Path, Query
from msgspec import Meta, Raw
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from log10_server.db.transaction import Tx
from log10_server.errors import FieldError, Invalid
from log10_server.services import feedback
from log10_server.services.feedback import NewFeedback, StoredFeedback
from log10_server.services.selectors import CompletionList, Selector
from log10_server.store.feedback import ACCEPTED, AuthorKind, Filters, State
from log10_server.web.http.answers import (
    EXAMPLE_ORGANIZATION,
    EXAMPLE_TIME_MS,
    Answer,
    ObjectText,
    Reply,
    example_answer,
)
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint, NoBody
from log10_server.web.http.fields import (
    AnyText,
    AtLeastOne,
    AtLeastZero,
    CompletionIds,
    Flag,
    Id,
    JsonObject,
    Limit,
    LongText,
    MaybeText,
    Offset,
    QueryText,
    RangeEnd,
    RangeStart,
    RequestModel,
    SelectorTags,
    ValueFilter,
)
from log10_server.web.http.problems import documented
from log10_server.web.v1.paging import DEFAULT_PAGE

router = APIRouter(prefix="/api/v1/feedback", tags=["Feedback"], route_class=Endpoint)

DEFAULT_MATCHES = 100

_EXAMPLE: JsonDict = {
    "id": "feedback-1",
    "task_id": "greeting-quality",
    "json_values": {"grade": 5, "note": "Friendly."},
    "completion_tags_selector": ["greeting"],
    "allow_unmatched_feedback": True,
    "comment": "Graded by hand",
}


_ANSWER: JsonDict = {
    "id": "feedback-1",
    "organization_id": EXAMPLE_ORGANIZATION,
    "created_at_ms": EXAMPLE_TIME_MS,
    "task_id": "greeting-quality",
    "json_values": {"grade": 5, "note": "Friendly."},
    "matched_completion_ids": ["greeting-1"],
    "comment": "Graded by hand",
    "completions_summary": '1 completion (gpt-4o): "Say hello."',
    "state": "accepted",
    "author": "reviewers",
    "author_id": "1f0c1c6c-63c5-4c0c-8f4b-6f7f8f2d0a52",
    "author_kind": "program",
}
_REJECTED: JsonDict = {**_ANSWER, "state": "rejected"}


class Feedback(Answer, kw_only=True):
    """A judgement of a person, a program or a model about completions."""

    openapi_example: ClassVar[Mapping[str, Any]] = _ANSWER

    id: Annotated[str, Meta(description="The feedback's id.")]
    organization_id: Annotated[str, Meta(description="The organization that the feedback belongs to.")]
    created_at_ms: Annotated[int, Meta(description="When the feedback was stored, in milliseconds since 1970 (UTC).")]
    task_id: Annotated[str, Meta(description="The feedback task that the feedback is for.")]
    json_values: Annotated[ObjectText, Meta(description="The values, exactly as they were sent.")]
    matched_completion_ids: Annotated[list[str], Meta(description="The completions that the feedback is about.")]
    comment: Annotated[str, Meta(description="A comment in words; empty when there is none.")]
    completions_summary: Annotated[str, Meta(description="One line that tells a reader what the feedback is about.")]
    state: Annotated[
        State,
        Meta(
            description="Whether the feedback is accepted, or is a proposal or a rejected one, which do not count as feedback."
        ),
    ]
    author: Annotated[
        str | None,
        Meta(
            description="Who gave the feedback: the name that the token had at that time, or else the token's id. "
            "Feedback from before version 0.2.0 has no author."
        ),
    ] = None
    author_id: Annotated[str | None, Meta(description="The id of the token that the feedback was given with.")] = None
    author_kind: Annotated[
        AuthorKind | None, Meta(description="Whether a person, a program or a model gave the feedback.")
    ] = None

    @classmethod
    def of(cls, matched: StoredFeedback) -> "Feedback":
        """Build the answer. `matched` is a row and the ids of its completions."""
        row = matched.feedback
        return cls(
            id=row.id,
            organization_id=row.organization_id,
            created_at_ms=row.created_at // 1000,
            task_id=row.task_id,
            json_values=Raw(row.json_values),
            matched_completion_ids=matched.completion_ids,
            comment=row.comment,
            completions_summary=row.completions_summary,
            state=row.state,
            author=row.author,
            author_id=row.author_id,
            author_kind=row.author_kind,
        )


class FeedbackUpload(RequestModel):
    """Feedback on completions, which are chosen either by a selector or by their ids."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    id: Id | None = Field(
        None, description="The feedback's id, if you want to choose it: then the same upload again stores nothing new."
    )
    task_id: AnyText = Field(description="The feedback task that the feedback is for.")
    json_values: JsonObject = Field(description="The values. They must satisfy the task's schema.")
    comment: LongText | None = Field(None, description="A comment in words.")
    completion_tags_selector: SelectorTags | None = Field(
        None, description="The feedback is about completions that have all of these tags."
    )
    completion_ids: CompletionIds | None = Field(None, description="The feedback is about these completions.")
    allow_unmatched_feedback: bool | None = Field(
        None, description="Whether to store the feedback when the selector matches nothing. Default: false."
    )
    max_matched_completions: AtLeastOne | None = Field(
        None,
        description="How many completions the selector may match. If it matches more, the upload is refused. Default: 100.",
    )
    state: State | None = Field(
        None,
        description="`proposed` stores a proposal, which does not count as feedback until it is accepted. Default: `accepted`.",
    )
    matched_completion_ids: Any = Field(
        None, description="Ignored in an upload, because the server finds these completions itself."
    )

    def to_new_feedback(self, most: int) -> NewFeedback:
        """Return the upload as an argument for the services.

        Raises Invalid unless the upload has either a selector or ids.
        """
        return NewFeedback(
            id=self.id,
            task_id=self.task_id,
            json_values=str(self.json_values),
            comment=self.comment or "",
            target=self._target(most),
            state=self.state or ACCEPTED,
        )

    def _target(self, max_matches: int) -> Selector | CompletionList:
        tags, ids = self.completion_tags_selector, self.completion_ids
        if tags and ids == []:
            ids = None
        elif ids and tags == []:
            tags = None
        if (tags is None) == (ids is None):
            rule = "Give exactly one of `completion_tags_selector` and `completion_ids`."
            raise Invalid(
                [FieldError("/completion_tags_selector", rule), FieldError("/completion_ids", rule)], detail=rule
            )
        if ids is not None:
            if not ids:
                raise Invalid.at("/completion_ids", "Must name at least one completion.")
            return CompletionList(tuple(ids))
        at_most = min(self.max_matched_completions or DEFAULT_MATCHES, max_matches)
        return Selector(tuple(tags or ()), bool(self.allow_unmatched_feedback), at_most)


class Decision(RequestModel):
    """A decision to accept a proposal, with other values if the reviewer corrects it."""

    model_config = ConfigDict(json_schema_extra={"example": {"json_values": {"grade": 5, "note": "Friendly."}}})

    json_values: JsonObject | None = Field(None, description="Values that replace the proposed ones.")


class FeedbackPage(Answer, kw_only=True):
    """A page of feedback, newest first."""

    openapi_example: ClassVar[Mapping[str, Any]] = {"feedback": [_ANSWER]}

    feedback: Annotated[list[Feedback], Meta(description="The feedback on this page.")]


class FeedbackPageQuery(BaseModel):
    """The query parameters that both lists of feedback have: this one and that of `log10-io` (web/legacy/pages.py)."""

    offset: Offset | None = Field(None, description="How many to skip at the start of the list.")
    limit: Limit | None = Field(None, description="How many to answer at most. More than 1000 means 1000. Default: 50.")
    completion_id: QueryText | None = Field(None, description="Only feedback on this completion.")
    task_id: QueryText | None = Field(None, description="Only feedback for this task.")


class FeedbackQuery(FeedbackPageQuery):
    """The query of the list of feedback of the versioned API."""

    state: Literal[State, "all"] = Field(ACCEPTED, description="Only feedback in this state.")
    created_from: RangeStart | None = Field(None, description="Only feedback stored at this time or later.")
    created_to: RangeEnd | None = Field(
        None,
        description="Only feedback stored at this time or earlier. A date without a time includes that whole day in UTC.",
    )
    filter: ValueFilter | None = Field(
        None,
        description="Only feedback whose values satisfy this filter, such as "
        '`grade >= 4 and not "tone of voice" = "rude"`. A filter compares fields (`=` `!=` `<` `<=` `>` `>=`) with a '
        "number, a string in quotes, `true` or `false`, and joins comparisons with `and`, `or`, `not` and parentheses. "
        "A dotted path names a field inside an object. A name with spaces is written in quotes.",
    )
    total: Flag = Field(
        False, description="Whether to count everything that matches. The count is in the header `X-Total-Count`."
    )


class FeedbackQueryBody(RequestModel):
    """The same fields in a body. A field in the query takes precedence. A blank id means no id."""

    offset: AtLeastZero | None = Field(None, description="How many to skip at the start of the list.")
    limit: AtLeastOne | None = Field(
        None, description="How many to answer at most. More than 1000 means 1000. Default: 50."
    )
    completion_id: MaybeText = Field(None, description="Only feedback on this completion.")
    task_id: MaybeText = Field(None, description="Only feedback for this task.")


class FeedbackPageRequest(NamedTuple):
    """The filters of a list of feedback, and the page of it that is requested."""

    filters: Filters
    offset: int
    limit: int


def read_page_request(
    query: FeedbackPageQuery, body: FeedbackQueryBody | None, state: State | None, max_limit: int
) -> FeedbackPageRequest:
    """Return the page that the request asks for. A parameter in the query has precedence over one in the body."""
    body = body or FeedbackQueryBody()
    return FeedbackPageRequest(
        Filters(
            task_id=query.task_id or body.task_id, completion_id=query.completion_id or body.completion_id, state=state
        ),
        offset=query.offset if query.offset is not None else body.offset or 0,
        limit=min(query.limit or body.limit or DEFAULT_PAGE, max_limit),
    )


_UPLOAD_CODES = (
    "id_taken",
    "values_refused",
    "validation_timeout",
    "unknown_task",
    "task_archived",
    "unknown_completion",
    "no_match",
    "too_many_matches",
)
FeedbackId = Annotated[str, Path(alias="feedbackId", description="The feedback's id.", examples=["feedback-1"])]


@router.get("", operation_id="list")
async def list_feedback(
    query: Annotated[FeedbackQuery, Query()], context: RequestContext, body: FeedbackQueryBody | None = None
) -> Reply[FeedbackPage]:
    """List feedback, newest first. The filters are query parameters or fields of a JSON body."""
    state = None if query.state == "all" else query.state
    filters, offset, limit = read_page_request(query, body, state, context.limits.page)
    filters = filters._replace(created_from=query.created_from, created_to=query.created_to)

    def read(tx: Tx) -> tuple[list[StoredFeedback], int | None]:
        if query.total:
            return feedback.list_page_with_total(tx, filters, query.filter, offset, limit)
        return feedback.list_page(tx, filters, query.filter, offset, limit), None

    rows, total = await (context.read(read) if query.filter is None else context.read_long(read))
    page = FeedbackPage(feedback=[Feedback.of(row) for row in rows])
    return Reply(page, {} if total is None else {"X-Total-Count": str(total)})


@router.post("", operation_id="upload", responses=documented(*_UPLOAD_CODES))
async def upload(body: FeedbackUpload, context: RequestContext) -> Feedback:
    """Upload feedback on completions. An upload with an `id` can be repeated safely."""
    return Feedback.of(await feedback.upload(context, body.to_new_feedback(context.limits.matched_completions)))


@router.get("/{feedbackId:id}", operation_id="get")
async def get(feedback_id: FeedbackId, context: RequestContext) -> Feedback:
    """Get a piece of feedback by its id."""
    return Feedback.of(await context.read(lambda tx: feedback.get(tx, feedback_id)))


@router.delete("/{feedbackId:id}", operation_id="deleteFeedback", status_code=204)
async def delete(feedback_id: FeedbackId, context: RequestContext) -> None:
    """Delete a piece of feedback. The completions that it was about need feedback again."""
    await feedback.delete_feedback(context, feedback_id)


@router.post(
    "/{feedbackId:id}/accept",
    operation_id="acceptFeedback",
    responses=documented("decided_already", "values_refused", "validation_timeout"),
)
async def accept(feedback_id: FeedbackId, context: RequestContext, body: Decision | None = None) -> Feedback:
    """Accept proposed feedback. Values in the body replace the proposed ones."""
    values = None if body is None or body.json_values is None else str(body.json_values)
    return Feedback.of(await feedback.accept_proposal(context, feedback_id, values))


@router.post(
    "/{feedbackId:id}/reject",
    operation_id="rejectFeedback",
    responses=documented("decided_already") | example_answer(_REJECTED),
)
async def reject(feedback_id: FeedbackId, context: RequestContext, _body: NoBody | None = None) -> Feedback:
    """Reject proposed feedback. It is kept, but its completions still need feedback."""
    return Feedback.of(await context.write(lambda tx: feedback.reject(tx, feedback_id)))
