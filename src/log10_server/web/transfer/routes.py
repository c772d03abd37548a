"""Exports over HTTP.

A client that reads slowly, or not at all, keeps a chunk of its export in memory. So there is room for a chunk in
`AnswerBytes` before it is read, and until the client has received it. The first rows are read before the head of the
response is sent, so that an export for which there is no room is refused and not cut off.

When the database fails during an export, the connection is closed before the end of the response, so that the client
notices that the export is incomplete.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from json import dumps
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from log10_server.db.transaction import Tx
from log10_server.runtime.context import PIECE_BYTES, Context
from log10_server.runtime.runtime import LONG_TIMEOUT_SECONDS
from log10_server.services import transfer
from log10_server.services.training import TrainingCursor, TrainingSummary
from log10_server.services.transfer import ExportProgress
from log10_server.strict_json import written
from log10_server.web.http.answers import EXAMPLE_ORGANIZATION
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.fields import Flag, QueryText, ValueFilter
from log10_server.web.http.queries import refuse_unknown_parameters
from log10_server.web.http.streams import Stream
from log10_server.web.transfer.exporting import (
    ExportChunk,
    TrainingChunk,
    TrainingSelection,
    first_chunk,
    next_chunk,
    training_chunk,
)

router = APIRouter(prefix="/api/v1/export", tags=["Transfer"], route_class=Endpoint)


class JsonLines(Stream):
    """A response that streams JSON Lines."""

    media_type = "application/x-ndjson"


class TrainingQuery(BaseModel):
    """The query parameters of a training export."""

    task_id: QueryText = Field(
        description="The feedback task whose accepted feedback chooses the completions.", examples=["greeting-quality"]
    )
    filter: ValueFilter | None = Field(
        None,
        description="A filter that the values must satisfy, such as `grade >= 4 and not flags.spam = true`. Default: any values.",
    )
    summary: Flag = Field(
        False,
        description="Whether the last line is a summary: how many rows there are, and how many completions were left out "
        "for which reason. That line is not a training row; remove it before you upload the file.",
    )


def _lines(*rows: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of an endpoint that answers with JSON Lines like these."""
    example = "".join(f"{dumps(row)}\n" for row in rows)
    content = {"schema": {"type": "string"}, "example": example}
    return {200: {"description": "JSON Lines.", "content": {JsonLines.media_type: content}}}


# This is the export of a new organization after its first session was created.
_EXPORT_EXAMPLE: tuple[dict[str, Any], ...] = (
    {
        "type": "header",
        "format": "log10-server",
        "version": 1,
        "organization_id": EXAMPLE_ORGANIZATION,
        "exported_at": "2024-01-31T08:00:05.000000+00:00",
    },
    {"type": "session", "id": "0c6f7e2a-5f0b-4f0e-9d35-2f4f7c1d9b60", "created_at": "2024-01-31T08:00:00.123456+00:00"},
)
_TRAINING_EXAMPLE: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Say hello."}, {"role": "assistant", "content": "Hello!"}]
}


@router.get("", operation_id="exportData", response_class=JsonLines, responses=_lines(*_EXPORT_EXAMPLE))
@refuse_unknown_parameters
async def export_data(context: RequestContext) -> JsonLines:
    """Export all data of the organization as JSON Lines. An import takes them in this order."""
    first = await context.read_long(first_chunk)
    return JsonLines(_export_lines(context, first), headers=_download_headers("log10-export.jsonl"))


@router.get(
    "/training", operation_id="exportTrainingData", response_class=JsonLines, responses=_lines(_TRAINING_EXAMPLE)
)
@refuse_unknown_parameters
async def export_training_data(query: Annotated[TrainingQuery, Query()], context: RequestContext) -> JsonLines:
    """Export completions with good feedback as chat fine-tuning rows in OpenAI's format.

    A completion that the format cannot express is left out. `summary=true` counts those by reason in a last line.
    An unknown task has no rows.
    """
    selection = TrainingSelection(query.task_id, query.filter or (lambda _values: True))
    until = (await context.read_long(transfer.begin)).until
    lines = _training_lines(context, selection, until, with_summary=query.summary)
    return JsonLines(lines, headers=_download_headers("log10-training.jsonl"))


def _reserve_chunk(context: Context) -> AbstractAsyncContextManager[None]:
    """A block in which a chunk is read and sent. Raises Unavailable if there is no room for its bytes in time."""
    answers = context.runtime.answer_bytes
    return answers.reserve(context.organization.id, PIECE_BYTES, LONG_TIMEOUT_SECONDS)


async def _export_lines(context: Context, first: ExportChunk) -> AsyncGenerator[bytes]:
    pieces, progress = [first.lines], first.progress
    while progress is not None:

        def read(tx: Tx, progress: ExportProgress = progress) -> ExportChunk:
            return next_chunk(tx, progress)

        async with _reserve_chunk(context):
            lines, progress = await context.read_long(read, is_continued=True)
            pieces += [lines] if lines else []
            del lines
            while pieces:
                yield pieces.pop(0)  # no reference is kept, so the bytes are freed when they are sent


async def _training_lines(
    context: Context, selection: TrainingSelection, until: int, with_summary: bool
) -> AsyncGenerator[bytes]:
    summary = TrainingSummary()
    after: TrainingCursor | None = None
    is_first = True
    while is_first or after is not None:

        def read(tx: Tx, after: TrainingCursor | None = after) -> TrainingChunk:
            return training_chunk(tx, selection, after, until)

        async with _reserve_chunk(context):
            lines, counts, after = await context.read_long(read, is_continued=not is_first)
            is_first = False
            summary.add(counts)
            pieces = [lines] if lines else []
            del lines
            while pieces:
                yield pieces.pop()  # no reference is kept, so the bytes are freed when they are sent
    if with_summary:
        yield f"{written({'summary': summary.to_json()})}\n".encode()


def _download_headers(file_name: str) -> dict[str, str]:
    """Return headers that make a browser save the response under this name."""
    return {"Content-Disposition": f'attachment; filename="{file_name}"'}
