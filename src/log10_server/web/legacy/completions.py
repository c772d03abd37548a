"""`/api/completions` for `log10-io`: create ids, log rows, and list the rows for its command line.

docs/api.md, "The calls of log10-io", describes these calls.
"""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from log10_server.clock import utc
from log10_server.db.transaction import Tx
from log10_server.errors import Invalid, Malformed
from log10_server.services import completions, durations, tags, ungraded_index
from log10_server.services.merging import CompletionFields
from log10_server.settings import Limits
from log10_server.store.completions import CompletionRow, Filters, Status
from log10_server.store.pieces import Piece, Unread
from log10_server.strict_json import JsonText, check, check_nesting, value
from log10_server.web.http.answers import Answer, Continued, ObjectsText, ObjectText
from log10_server.web.http.call import RequestContext
from log10_server.web.http.encoding import body_of, items_of
from log10_server.web.http.endpoint import Endpoint, NoBody
from log10_server.web.http.fields import (
    JsonArray,
    JsonObject,
    Limit,
    LongText,
    Name,
    Offset,
    QueryText,
    RangeEnd,
    RangeStart,
    RequestModel,
    Seconds,
    SessionId,
    Tags,
)
from log10_server.web.v1.completions import Completion, CompletionId, check_new_id
from log10_server.web.v1.paging import DEFAULT_PAGE

router = APIRouter(prefix="/api/completions", route_class=Endpoint, include_in_schema=False)

# The command line of `log10-io` requests everything in one page (docs/api.md, "Lists").
MAX_PAGE = 10_000


class NewId(Answer, kw_only=True):
    """A new id, under which the client will log a completion."""

    completionID: str
    organizationSlug: str


class ResolvedTag(Answer, kw_only=True):
    """A tag of a log row."""

    id: str
    name: str


class LogRow(Answer, kw_only=True):
    """A completion in the format that `log10-io` reads: `duration` is in milliseconds, and a prompt is a `completion`."""

    id: str
    organization_id: str
    kind: Literal["chat", "completion"]
    status: Status
    request: ObjectText | None = None
    response: ObjectText | None = None
    stacktrace: ObjectsText | None = None
    session_id: str | None = None
    duration: float | None = None
    failure_kind: str | None = None
    failure_reason: str | None = None
    created_at: str
    tagResolved: list[ResolvedTag]

    @classmethod
    def of(cls, row: CompletionRow, keys: Mapping[str, int]) -> "LogRow":
        """Build a log row. `keys` has the id of each tag of the row, by the name of the tag."""
        completion = Completion.of(row)
        return cls(
            id=completion.id,
            organization_id=completion.organization_id,
            kind="completion" if completion.kind == "prompt" else "chat",
            status=completion.status,
            request=completion.request,
            response=completion.response,
            stacktrace=completion.stacktrace,
            session_id=completion.session_id,
            duration=durations.milliseconds(row.duration),
            failure_kind=completion.failure_kind,
            failure_reason=completion.failure_reason,
            created_at=utc(row.created_at).isoformat(timespec="microseconds"),
            tagResolved=[ResolvedTag(id=str(keys[name]), name=name) for name in ungraded_index.tags_of(row)],
        )


class LogRowAnswer(Answer, kw_only=True):
    """One log row."""

    data: LogRow


class LogRows(Answer, kw_only=True):
    """A page of log rows, and how many match in all."""

    data: list[LogRow]
    total: int


def _unwrap(kind: type[JsonObject]) -> BeforeValidator:
    """Parse JSON text in a JSON string, which is how `log10-io` sends payloads. Any other value is also accepted.

    A blank text and the text `null` count as left out.
    """

    def unwrap(payload: Any, info: ValidationInfo) -> Any:
        if not (isinstance(payload, str) and payload.startswith('"')):
            return payload
        text: str = value(str(payload))
        if text.strip() in {"", "null"}:
            return None
        limits = info.context if isinstance(info.context, Limits) else Limits()
        try:
            check_nesting(text, limits.nesting)
            check(text)
        except Malformed as error:
            raise PydanticCustomError(
                "json", "Holds text that is not JSON. {reason}", {"reason": error.detail}
            ) from None
        except Invalid as error:
            raise PydanticCustomError("json", "{reason}", {"reason": error.detail}) from None
        # Half of a surrogate pair can't be encoded in UTF-8. So it is stored as its escape, such as `\ud83d`, which
        # means the same character in JSON.
        return kind(text.encode("utf-8", "backslashreplace").decode().strip())

    return BeforeValidator(unwrap)


class LogEntry(RequestModel):
    """A log row as it is sent: payloads are JSON text in a string, `duration` is in milliseconds."""

    status: Literal["started", "finished", "failed"] | None = None
    kind: Literal["chat", "completion", "prompt"] | None = None
    request: Annotated[JsonObject | None, _unwrap(JsonObject)] = None
    response: Annotated[JsonObject | None, _unwrap(JsonObject)] = None
    stacktrace: Annotated[JsonArray | None, _unwrap(JsonArray)] = None
    duration: Seconds | None = None
    session_id: SessionId | None = None
    tags: Tags | None = None
    failure_kind: Name | None = None
    failure_reason: LongText | None = None

    def to_fields(self) -> CompletionFields:
        """Return the members of the row for the services. Members that are left out or null are absent."""
        members = {
            "status": self.status,
            "kind": "prompt" if self.kind == "completion" else self.kind,
            "session_id": self.session_id or None,
            "tags": self.tags or None,
            "duration": None if self.duration is None else durations.seconds(self.duration),
            "failure_kind": self.failure_kind,
            "failure_reason": self.failure_reason,
            "request": self.request,
            "response": self.response,
            "stacktrace": self.stacktrace,
        }
        fields = {
            name: str(member) if isinstance(member, JsonText) else member
            for name, member in members.items()
            if member is not None
        }
        return cast(CompletionFields, fields)


class CreatedFilter(BaseModel):
    """A range of time with inclusive ends, each of which may be left out."""

    start: RangeStart | None = Field(None, alias="from")
    end: RangeEnd | None = Field(None, alias="to")


def _created_filter(text: Any) -> Any:
    """Parse the JSON object in a query parameter. A member that is null or blank counts as left out."""
    try:
        members = value(text)
    except Malformed as error:
        raise PydanticCustomError("json", "{reason}", {"reason": error.detail}) from None
    if members is None:
        return {}
    if not isinstance(members, dict):
        raise PydanticCustomError("json", "Must be a JSON object with `from`, `to` or both.")
    return {name: end for name, end in members.items() if not _is_blank(end)}


def _is_blank(end: Any) -> bool:
    return end is None or (isinstance(end, str) and end.strip() in {"", "None"})


class RowsQuery(BaseModel):
    """The query parameters of the list. `tagFilter` holds ids of tags and `ids` ids of completions, with commas."""

    offset: Offset = 0
    limit: Limit = DEFAULT_PAGE
    tagFilter: QueryText | None = None
    createdFilter: Annotated[CreatedFilter, BeforeValidator(_created_filter)] = CreatedFilter()
    ids: QueryText | None = None


@router.post("")
async def create_id(context: RequestContext, _body: NoBody | None = None) -> NewId:
    """Create an id, and nothing else: the completion is created when its first row is logged."""
    return NewId(completionID=str(uuid.uuid4()), organizationSlug=context.organization.slug)


@router.post("/{completionId:id}")
async def log(completion_id: CompletionId, body: LogEntry, context: RequestContext) -> Completion:
    """Merge a row into the completion. Rows may come in any order, and more than once."""
    check_new_id(completion_id, context.limits)
    return Completion.of(await completions.log(context, completion_id, body.to_fields()))


@router.get("/{completionId:id}")
async def get(completion_id: CompletionId, context: RequestContext) -> Continued[LogRowAnswer]:
    """Get a completion as a log row."""
    max_bytes = context.first_piece_bytes()
    rows, unread = await context.read(lambda tx: _log_rows(tx, completions.get(tx, completion_id, max_bytes)))

    def read_piece(tx: Tx, unread: Unread, max_bytes: int) -> Piece[bytes]:
        rows, unread = _log_rows(tx, completions.read_piece(tx, unread, max_bytes))
        return Piece([body_of(LogRowAnswer(data=row)) for row in rows], unread)

    more = context.read_pieces(read_piece, unread) if unread.ids else None
    return Continued(LogRowAnswer(data=rows[0]) if rows else None, more)


@router.get("")
async def list_rows(query: Annotated[RowsQuery, Query()], context: RequestContext) -> Continued[LogRows]:
    """List log rows, newest first, with the number of all that match."""
    filters, limit, max_bytes = _filters(query), min(query.limit, MAX_PAGE), context.first_piece_bytes()

    def read(tx: Tx) -> tuple[Piece[LogRow], int]:
        ids = completions.list_page(tx, filters, query.offset, limit)
        piece = completions.read_piece(tx, Unread(ids), max_bytes)
        return _log_rows(tx, piece), completions.count(tx, filters)

    def read_piece(tx: Tx, unread: Unread, max_bytes: int) -> Piece[bytes]:
        rows, unread = _log_rows(tx, completions.read_piece(tx, unread, max_bytes))
        return Piece(items_of(rows), unread)

    # The completions with several common tags are skipped and counted one by one.
    has_several_tags = len(set(filters.tag_ids or ())) > 1
    (rows, unread), total = await (context.read_long if has_several_tags else context.read)(read)
    more = context.read_pieces(read_piece, unread) if unread.ids else None
    return Continued(LogRows(data=rows, total=total), more)


def _filters(query: RowsQuery) -> Filters:
    """Return the filters of the query. If one of the tag ids is not a number, no row matches."""
    tag_ids = [part.strip() for part in (query.tagFilter or "").split(",") if part.strip()]
    numbers = [int(tag_id) for tag_id in tag_ids if tag_id.isascii() and tag_id.isdigit() and len(tag_id) < 19]
    if not tag_ids:
        filtered_tag_ids = None
    elif len(numbers) == len(tag_ids):
        filtered_tag_ids = numbers
    else:
        filtered_tag_ids = []
    return Filters(
        ids=None if query.ids is None else [completion_id for completion_id in query.ids.split(",") if completion_id],
        tag_ids=filtered_tag_ids,
        created_from=query.createdFilter.start,
        created_to=query.createdFilter.end,
    )


def _log_rows(tx: Tx, piece: Piece[CompletionRow]) -> Piece[LogRow]:
    keys = tags.find_keys(tx, {name for row in piece.rows for name in ungraded_index.tags_of(row)})
    return Piece([LogRow.of(row, keys) for row in piece.rows], piece.unread)
