"""`/api/v1/completions`: log, get, list and delete completions, and list the ungraded ones."""

from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Any, ClassVar, cast

from fastapi import APIRouter, Path, Query
from msgspec import Meta, Raw
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from log10_server.db.transaction import Tx
from log10_server.errors import Invalid
from log10_server.runtime.context import Context
from log10_server.services import completions, durations, ungraded
from log10_server.services.merging import CompletionFields
from log10_server.settings import Limits
from log10_server.store.completions import CompletionRow, Cursor, Filters, Kind, Status
from log10_server.store.pieces import Piece, Unread
from log10_server.web.http.answers import (
    EXAMPLE_ORGANIZATION,
    EXAMPLE_TIME_MS,
    Answer,
    Continued,
    ObjectsText,
    ObjectText,
    StringsText,
)
from log10_server.web.http.call import RequestContext
from log10_server.web.http.encoding import items_of
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.fields import (
    Id,
    JsonArray,
    JsonObject,
    LongText,
    Name,
    QueryText,
    RangeEnd,
    RangeStart,
    RequestModel,
    Seconds,
    SelectorTags,
    SessionId,
    Tags,
    fits_id,
)
from log10_server.web.http.queries import refuse_unknown_parameters
from log10_server.web.v1.paging import DEFAULT_PAGE, NextCursor, PageCursor, PageLimit, PageOffset, encode_cursor

router = APIRouter(prefix="/api/v1/completions", tags=["Completions"], route_class=Endpoint)

_KIND = "Whether the request holds chat messages or a prompt."
_STATUS = "Whether the LLM call has started, has finished, or has failed."
_STACKTRACE = "Where in the program the call was made: `file`, `line`, `lineno` and `name` of each frame."
_DURATION = "How long the LLM call took, in seconds."
_FAILURE_KIND = "What kind of failure ended the LLM call."
_FAILURE_REASON = "Why the LLM call failed."

_EXAMPLE: JsonDict = {
    "id": "greeting-1",
    "session_id": "session-1",
    "tags": ["greeting", "demo"],
    "request": {"model": "gpt-4o", "messages": [{"role": "user", "content": "Say hello."}]},
    "response": {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1706688000,
        "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
    },
    "duration": 0.8,
}

_ANSWER: JsonDict = {
    "id": "greeting-1",
    "organization_id": EXAMPLE_ORGANIZATION,
    "created_at_ms": EXAMPLE_TIME_MS,
    "kind": "chat",
    "status": "finished",
    "tags": ["greeting", "demo"],
    "request": _EXAMPLE["request"],
    "response": _EXAMPLE["response"],
    "session_id": "session-1",
    "duration": 0.8,
}


class Completion(Answer, kw_only=True):
    """One LLM request and its response."""

    openapi_example: ClassVar[Mapping[str, Any]] = _ANSWER

    id: Annotated[str, Meta(description="The completion's id.")]
    organization_id: Annotated[str, Meta(description="The organization that the completion belongs to.")]
    created_at_ms: Annotated[int, Meta(description="When its first row arrived, in milliseconds since 1970 (UTC).")]
    kind: Annotated[Kind, Meta(description=_KIND)]
    status: Annotated[Status, Meta(description=_STATUS)]
    tags: Annotated[StringsText, Meta(description="The tags, in the order in which they were sent.")]
    request: Annotated[ObjectText | None, Meta(description="What was sent to the LLM, exactly as it was logged.")] = (
        None
    )
    response: Annotated[ObjectText | None, Meta(description="What the LLM answered, exactly as it was logged.")] = None
    stacktrace: Annotated[ObjectsText | None, Meta(description=_STACKTRACE)] = None
    session_id: Annotated[str | None, Meta(description="The session that the completion belongs to.")] = None
    duration: Annotated[float | None, Meta(description=_DURATION)] = None
    failure_kind: Annotated[str | None, Meta(description=_FAILURE_KIND)] = None
    failure_reason: Annotated[str | None, Meta(description=_FAILURE_REASON)] = None

    @classmethod
    def of(cls, row: CompletionRow) -> "Completion":
        """Build the answer from a row.

        If no row has set the kind or the status, they have defaults (docs/api.md, "Completions").
        """
        return cls(
            id=row.id,
            organization_id=row.organization_id,
            created_at_ms=row.created_at // 1000,
            kind=row.kind or "chat",
            status=row.status or ("started" if row.response is None else "finished"),
            tags=Raw(row.tags or "[]"),
            request=None if row.request is None else Raw(row.request),
            response=None if row.response is None else Raw(row.response),
            stacktrace=None if row.stacktrace is None else Raw(row.stacktrace),
            session_id=row.session_id,
            duration=durations.compact(row.duration),
            failure_kind=row.failure_kind,
            failure_reason=row.failure_reason,
        )


class CompletionUpload(RequestModel):
    """What to log about a completion. A member that is left out or `null` keeps its stored value."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    id: Id | None = Field(
        None, description="The completion's id, if you want to choose it; otherwise the server makes one."
    )
    organization_id: str | None = Field(None, description="The token's organization, by id or slug. May be left out.")
    kind: Kind | None = Field(None, description=_KIND)
    status: Status | None = Field(None, description=_STATUS)
    tags: Tags | None = Field(
        None, description="Tags, by which selectors find the completion; `[]` removes the stored ones."
    )
    request: JsonObject | None = Field(
        None, description="What is sent to the LLM. It is answered exactly as you send it."
    )
    response: JsonObject | None = Field(
        None, description="What the LLM answered. It is answered exactly as you send it."
    )
    stacktrace: JsonArray | None = Field(None, description=_STACKTRACE)
    stack_trace: JsonArray | None = Field(None, description="Another spelling of `stacktrace`.", deprecated=True)
    session_id: SessionId | None = Field(
        None, description="The session that the completion belongs to; it is created if it does not exist."
    )
    duration: Seconds | None = Field(None, description=_DURATION)
    failure_kind: Name | None = Field(None, description=_FAILURE_KIND)
    failure_reason: LongText | None = Field(None, description=_FAILURE_REASON)

    def to_fields(self) -> CompletionFields:
        """Return the members of the row for the services. Members that are left out or null are absent."""
        members = {**self.__dict__, "session_id": self.session_id or None}
        if members["stacktrace"] is None:
            members["stacktrace"] = members["stack_trace"]
        fields = {name: members[name] for name in _PLAIN_MEMBERS if members[name] is not None}
        for name in _PAYLOADS:
            if members[name] is not None:
                # The database drivers copy an instance of a subclass of `str`, but not a plain `str`.
                fields[name] = str(members[name])
        return cast(CompletionFields, fields)


_PLAIN_MEMBERS = ("session_id", "kind", "status", "duration", "failure_kind", "failure_reason", "tags")
_PAYLOADS = ("request", "response", "stacktrace")


class CompletionPage(Answer, kw_only=True):
    """A page of completions, newest first."""

    openapi_example: ClassVar[Mapping[str, Any]] = {"completions": [_ANSWER]}

    completions: Annotated[list[Completion], Meta(description="The completions on this page.")]
    next_cursor: NextCursor = None


class UngradedPage(Answer, kw_only=True):
    """A page of completions that still need feedback, newest first."""

    openapi_example: ClassVar[Mapping[str, Any]] = {"completions": [_ANSWER]}

    completions: Annotated[list[Completion], Meta(description="The completions on this page.")]


class CompletionQuery(BaseModel):
    """The query parameters of the list of completions."""

    tag: SelectorTags = Field([], description="A tag that the completion must have; repeat it for several.")
    session_id: QueryText | None = Field(None, description="Only completions of this session.")
    status: Status | None = Field(None, description="Only completions of this status.")
    kind: Kind | None = Field(None, description="Only completions of this kind.")
    model: QueryText | None = Field(None, description="Only completions whose request names this model.")
    created_from: RangeStart | None = Field(None, description="Only completions created at this time or later.")
    created_to: RangeEnd | None = Field(
        None,
        description="Only completions created at this time or earlier. A date without a time includes that whole day in UTC.",
    )
    limit: PageLimit = DEFAULT_PAGE
    cursor: PageCursor = None


class UngradedQuery(BaseModel):
    """The query of the list of ungraded completions."""

    task_id: QueryText | None = Field(None, description="Only completions that need feedback for this task.")
    offset: PageOffset = 0
    limit: PageLimit = DEFAULT_PAGE


CompletionId = Annotated[str, Path(alias="completionId", description="The completion's id.", examples=["greeting-1"])]


@router.post("", operation_id="create", status_code=201)
async def create(body: CompletionUpload, context: RequestContext) -> Completion:
    """Log a completion. If the id exists already, the row is merged into the stored completion."""
    return Completion.of(await completions.log(context, body.id, body.to_fields()))


@router.get("", operation_id="listCompletions")
@refuse_unknown_parameters
async def list_completions(
    query: Annotated[CompletionQuery, Query()], context: RequestContext
) -> Continued[CompletionPage]:
    """List completions, newest first. A cursor stays valid while new completions are logged."""
    filters = Filters(
        session_id=query.session_id,
        status=query.status,
        kind=query.kind,
        model=query.model,
        created_from=query.created_from,
        created_to=query.created_to,
    )
    limit, max_bytes = min(query.limit, context.limits.page), context.first_piece_bytes()

    def read(tx: Tx) -> tuple[Piece[CompletionRow], Cursor | None]:
        ids, next_cursor = completions.list_newest(tx, query.tag, filters, query.cursor, limit)
        return completions.read_piece(tx, Unread(ids), max_bytes), next_cursor

    (rows, unread), next_cursor = await context.read(read)
    page = CompletionPage(completions=[Completion.of(row) for row in rows], next_cursor=encode_cursor(next_cursor))
    return Continued(page, read_further(context, unread))


# The ungraded completions before an offset are skipped one by one, which takes some 100 ms for 100 000.
_MAX_OFFSET_OF_SHORT_READ = 10_000


@router.get("/ungraded", operation_id="listUngraded")
async def list_ungraded(query: Annotated[UngradedQuery, Query()], context: RequestContext) -> Continued[UngradedPage]:
    """List completions that still need feedback for a feedback task, newest first."""
    limit, max_bytes = min(query.limit, context.limits.page), context.first_piece_bytes()

    def read(tx: Tx) -> Piece[CompletionRow]:
        ids = ungraded.list_newest(tx, query.task_id, query.offset, limit)
        return completions.read_piece(tx, Unread(ids), max_bytes)

    in_lane = context.read_long if query.offset > _MAX_OFFSET_OF_SHORT_READ else context.read
    rows, unread = await in_lane(read)
    return Continued(UngradedPage(completions=[Completion.of(row) for row in rows]), read_further(context, unread))


@router.get("/{completionId:id}", operation_id="getCompletion")
@refuse_unknown_parameters
async def get(completion_id: CompletionId, context: RequestContext) -> Continued[Completion]:
    """Get a completion by its id."""
    max_bytes = context.first_piece_bytes()
    rows, unread = await context.read(lambda tx: completions.get(tx, completion_id, max_bytes))
    return Continued(Completion.of(rows[0]) if rows else None, read_further(context, unread))


@router.post("/{completionId:id}", operation_id="update")
async def update(completion_id: CompletionId, body: CompletionUpload, context: RequestContext) -> Completion:
    """Log more about a completion. It is created if it does not exist."""
    check_new_id(completion_id, context.limits)
    if body.id is not None and body.id != completion_id:
        raise Invalid.at("/id", "Differs from the id in the path.")
    return Completion.of(await completions.log(context, completion_id, body.to_fields()))


@router.delete("/{completionId:id}", operation_id="deleteCompletion", status_code=204)
async def delete(completion_id: CompletionId, context: RequestContext) -> None:
    """Delete a completion. Feedback on it is kept, but no longer refers to it."""
    await context.write(lambda tx: completions.delete(tx, completion_id))


def read_further(context: Context, unread: Unread) -> AsyncGenerator[bytes] | None:
    """Return the completions that the first piece of an answer leaves out, as JSON; None if it has all of them."""
    return context.read_pieces(_read_piece, unread) if unread.ids else None


def _read_piece(tx: Tx, unread: Unread, max_bytes: int) -> Piece[bytes]:
    rows, unread = completions.read_piece(tx, unread, max_bytes)
    return Piece(items_of([Completion.of(row) for row in rows]), unread)


def check_new_id(completion_id: str, limits: Limits) -> None:
    """Raises Invalid when the id in a path can't be the id of a new completion (docs/api.md, "Limits")."""
    if not fits_id(completion_id) or len(completion_id.encode()) > limits.id_bytes:
        raise Invalid.at(
            "/id", f"The id in the path must have at most {limits.id_bytes} bytes, and none of the characters , ? # \\."
        )
