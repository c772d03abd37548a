"""`POST /api/v1/completions/batch` logs many rows in one request.

The rows are parsed while they arrive, and stored in one transaction.
"""

import asyncio
from collections.abc import Mapping
from json import dumps
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter
from msgspec import Meta

from log10_server.errors import FieldError, Forbidden, Invalid, Malformed, TooLarge, WrongMediaType
from log10_server.runtime.context import Context
from log10_server.services import completions
from log10_server.services.completions import Entry
from log10_server.web.http.answers import Answer
from log10_server.web.http.body import is_json
from log10_server.web.http.call import EndpointBody, RequestContext, check_organization
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.json_rows import ArraySplitter, LineSplitter, Row, Splitter, validated
from log10_server.web.v1.completions import CompletionUpload

router = APIRouter(prefix="/api/v1/completions", tags=["Completions"], route_class=Endpoint)

JSON_LINES = "application/x-ndjson"
_LINES_MEDIA_TYPES = frozenset({JSON_LINES, "application/ndjson", "application/jsonl", "application/x-jsonlines"})
_MAX_FIELD_ERRORS = 100
# Parsing blocks the event loop. So a body is parsed in a thread, this many bytes at a time. A short body is parsed on
# the event loop, because handing it to a thread would take longer than parsing it.
_PIECE_BYTES = 1 << 18
_SHORT_BODY_BYTES = 1 << 12

# No other example uses these ids or tags, so the answer is the same whichever examples were executed before.
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Goodbye!"}, "finish_reason": "stop"}
_REQUEST = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Say goodbye."}]}
_EXAMPLES: list[dict[str, Any]] = [
    {"id": "farewell-1", "status": "started", "tags": ["farewell"], "request": _REQUEST},
    {"id": "farewell-1", "status": "finished", "response": {"choices": [_CHOICE]}, "duration": 0.6},
    {
        "id": "farewell-2",
        "status": "failed",
        "tags": ["farewell"],
        "request": _REQUEST,
        "failure_kind": "RateLimitError",
    },
]
_ROW = {"$ref": "#/components/schemas/CompletionUpload"}
_BODY = {
    "description": "Rows as `POST /api/v1/completions` takes them: a JSON array, or JSON Lines with one row in each line.",
    "required": True,
    "content": {
        "application/json": {"schema": {"type": "array", "items": _ROW}, "example": _EXAMPLES},
        JSON_LINES: {
            "schema": {"type": "string", "description": "A JSON object in each line. Blank lines are ignored."},
            "example": "".join(dumps(row) + "\n" for row in _EXAMPLES),
        },
    },
}


class StoredRows(Answer, kw_only=True):
    """The result of a batch."""

    openapi_example: ClassVar[Mapping[str, Any]] = {"rows": 3, "ids": ["farewell-1", "farewell-1", "farewell-2"]}

    rows: Annotated[int, Meta(description="How many rows were stored.")]
    ids: Annotated[list[str], Meta(description="The id of each row's completion, in the order of the rows.")]


@router.post("/batch", operation_id="createBatch", status_code=201, openapi_extra={"requestBody": _BODY})
async def create_batch(body: EndpointBody, context: RequestContext) -> StoredRows:
    """Log many rows about completions in one request. Either all rows are stored or none.

    Rows with the same id are merged in their order. A refusal names each error by its row, counted from 0, such as
    `/17/tags/0`. It lists the first 100 errors.
    """
    reader = _BatchReader(context, _splitter(body.media_type, context.limits.body_bytes))
    piece = bytearray()
    async for part in body.parts(context.limits.batch_bytes):
        context.size += len(part)
        piece += part
        if len(piece) >= _PIECE_BYTES:
            await asyncio.to_thread(reader.read, bytes(piece))
            piece.clear()
    if not context.size:
        # A client or proxy may have lost the body on its way. Then the answer must not say that it was stored.
        raise Malformed("The body is empty: a batch without rows is the array [].")
    if context.size <= _SHORT_BODY_BYTES:
        reader.read(bytes(piece))
        entries = reader.finish()
    else:
        entries = await asyncio.to_thread(reader.read_last, bytes(piece))
    ids = await completions.log_batch(context, entries)
    return StoredRows(rows=len(ids), ids=ids)


def _splitter(media_type: str | None, max_bytes: int) -> Splitter:
    """Return a splitter for rows of at most `max_bytes` bytes.

    Raises WrongMediaType if the Content-Type is neither JSON nor JSON Lines.
    """
    main, _, parameters = (media_type or "").partition(";")
    # JSON Lines may have the same `charset` as JSON, so `is_json` judges the parameters.
    if main.strip().lower() in _LINES_MEDIA_TYPES and is_json(f"application/json;{parameters}"):
        return LineSplitter(max_bytes)
    if not is_json(media_type):
        raise WrongMediaType(
            f"The body must be a JSON array (application/json) or JSON Lines ({JSON_LINES}), not {media_type!r}."
        )
    return ArraySplitter(max_bytes)


class _BatchReader:
    """Turns the parts of a body into entries.

    Once a row is refused, nothing can be stored any more, so only the field errors of the remaining rows are collected.
    """

    def __init__(self, context: Context, splitter: Splitter) -> None:
        self._organization = context.organization
        self._limits = context.limits
        self._splitter = splitter
        self._entries: list[Entry] = []
        self._forbidden: Forbidden | None = None
        self._field_errors: list[FieldError] = []
        self._more_field_errors = 0
        self._links = 0

    def read(self, piece: bytes) -> None:
        """Read the rows that end in this piece.

        Malformed and TooLarge are raised at once. Forbidden and Invalid are raised by `finish`, because a later row may
        be malformed, and that error has precedence.
        """
        for row in self._splitter.split(piece):
            self._read_row(row)

    def read_last(self, piece: bytes) -> list[Entry]:
        """Call `read` and then `finish`, so that both need only one call in a thread."""
        self.read(piece)
        return self.finish()

    def finish(self) -> list[Entry]:
        """Return all entries in the order of the rows.

        Raises Forbidden, and Invalid with the field errors of all rows.
        """
        for row in self._splitter.finish():
            self._read_row(row)
        if self._forbidden is not None:
            raise self._forbidden
        if self._field_errors:
            raise Invalid(self._field_errors, more=self._more_field_errors)
        return self._entries

    def _read_row(self, row: Row) -> None:
        if row.number >= self._limits.batch_rows:
            raise TooLarge(f"The batch has more than {self._limits.batch_rows} rows.")
        if row.content is None:
            raise TooLarge(f"Row {row.number} is larger than {self._limits.body_bytes} bytes.")
        try:
            entry = self._entry(row)
            self._links += len(entry.fields.get("tags", ()))
            if self._links > self._limits.batch_links:
                raise TooLarge(f"The rows of the batch have more than {self._limits.batch_links} tags together.")
            if self._forbidden is None and not self._field_errors:
                self._entries.append(entry)
            return
        except Forbidden as refusal:
            self._forbidden = self._forbidden or Forbidden(f"Row {row.number}: {refusal.detail}")
        except Invalid as refusal:
            room = _MAX_FIELD_ERRORS - len(self._field_errors)
            self._field_errors += row.prefix_paths(refusal.field_errors[:room])
            self._more_field_errors += len(refusal.field_errors[room:])
        self._entries.clear()

    def _entry(self, row: Row) -> Entry:
        try:
            fields = row.members(CompletionUpload.payloads, self._limits.nesting)
        except Invalid:
            if row.line and row.content and row.content.startswith(b"["):
                raise Invalid.at("", "Must be a JSON object; an array of rows is sent as application/json.") from None
            raise
        check_organization(self._organization, fields.get("organization_id"))
        upload = validated(CompletionUpload, fields, self._limits)
        return Entry(upload.id, upload.to_fields())
