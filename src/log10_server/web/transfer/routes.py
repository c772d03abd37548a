"""Exports over HTTP. When the database fails on the way, the connection is cut: a client must not take a part for all."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from log10_server.db.transaction import Tx
from log10_server.errors import Invalid
from log10_server.runtime.context import Context
from log10_server.services import transfer
from log10_server.services.filters import FilterError, Test, parsed
from log10_server.services.transfer import Progress
from log10_server.store.completions import Cursor
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.fields import QueryText
from log10_server.web.transfer.exporting import Asked, Piece, TrainingPiece, first_piece, next_piece, training_piece

router = APIRouter(prefix="/api/v1/export", tags=["Transfer"], route_class=Endpoint)


class JsonLines(StreamingResponse):
    media_type = "application/x-ndjson"


class TrainingQuery(BaseModel):
    task_id: QueryText = Field(
        description="The feedback task whose accepted feedback chooses the completions.", examples=["greeting-quality"]
    )
    filter: QueryText | None = Field(
        None, description="What its values must satisfy, such as `grade >= 4 and not flags.spam = true`. Default: any."
    )


_LINES: dict[int | str, dict[str, Any]] = {
    200: {"description": "JSON Lines.", "content": {"application/x-ndjson": {"schema": {"type": "string"}}}}
}


@router.get("", operation_id="exportData", response_class=JsonLines, responses=_LINES)
async def export_data(context: RequestContext) -> JsonLines:
    """Export everything of the organization as JSON Lines, in the order in which an import can take it."""
    first = await context.read(first_piece)
    return JsonLines(_all(context, first), headers=_named("log10-export.jsonl"))


@router.get("/training", operation_id="exportTrainingData", response_class=JsonLines, responses=_LINES)
async def export_training_data(query: Annotated[TrainingQuery, Query()], context: RequestContext) -> JsonLines:
    """Export chat fine-tuning rows in OpenAI's format, from completions with accepted feedback that passes a filter.

    Completions without a usable response are left out. An unknown task has no rows.
    """
    asked = Asked(query.task_id, _test(query.filter))
    until = (await context.read(transfer.begin)).until
    first = await context.read(lambda tx: training_piece(tx, asked, None, until))
    return JsonLines(_training(context, asked, until, first), headers=_named("log10-training.jsonl"))


async def _all(context: Context, piece: Piece) -> AsyncIterator[bytes]:
    yield piece.lines
    progress = piece.progress
    while progress is not None:

        def read(tx: Tx, at: Progress = progress) -> Piece:
            return next_piece(tx, at)

        lines, progress = await context.read(read)
        if lines:
            yield lines


async def _training(context: Context, asked: Asked, until: int, piece: TrainingPiece) -> AsyncIterator[bytes]:
    while True:
        if piece.lines:
            yield piece.lines
        after = piece.after
        if after is None:
            return

        def read(tx: Tx, after: Cursor = after) -> TrainingPiece:
            return training_piece(tx, asked, after, until)

        piece = await context.read(read)


def _test(filter: str | None) -> Test:
    """Raises Invalid at `/query/filter`."""
    if filter is None:
        return lambda _values: True
    try:
        return parsed(filter)
    except FilterError as error:
        raise Invalid.at("/query/filter", f"{error}.") from None


def _named(file: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{file}"'}
