"""The completions that the usage reads one by one, because no sums are kept of them: their columns, piece by piece."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import func, literal, tuple_

from log10_server.db.transaction import Tx
from log10_server.store.completions import Cursor, Filters, completion, filtered, shown_status
from log10_server.store.rollups import Watermark

# The model that is shown for completions without one.
shown_model = func.coalesce(completion.c.model, "unknown")
_PIECE = 2000  # completions that one statement reads, so that memory is bounded


class Call(NamedTuple):
    """The columns of a completion that the usage counts, with the model and status as answers show them."""

    id: str
    created_at: int
    model: str
    status: str
    input_tokens: int | None
    output_tokens: int | None
    duration: float | None


def iterate_calls(tx: Tx, filters: Filters, model: str | None, above: Watermark | None) -> Iterator[list[Call]]:
    """The completions that pass the filters, in pieces, the newest first.

    `model` is a filter for the model as it is shown. With `above`, only completions above that position are read.
    """
    rows, created_at, completion_id = filtered(tx, filters)
    position = tuple_(created_at, completion_id)
    if model is not None:
        rows = rows.where(shown_model == model)
    if above is not None:
        rows = rows.where(position > tuple_(*map(literal, above)))
    columns = (completion.c[name] for name in ("input_tokens", "output_tokens", "duration"))
    # The columns of the ORDER BY are selected, because otherwise SQLite would have to sort (`TaggedCompletions`).
    selected: list[Any] = [completion_id, created_at, shown_model, shown_status, *columns]
    newest = rows.with_only_columns(*selected).order_by(created_at.desc(), completion_id.desc()).limit(_PIECE)
    last: Cursor | None = None
    while True:
        tx.check_deadline()
        piece = newest if last is None else newest.where(position < tuple_(*map(literal, last)))
        calls = list(map(Call._make, tx.connection.execute(piece)))
        if calls:
            yield calls
        if len(calls) < _PIECE:
            return
        last = Cursor(calls[-1].created_at, calls[-1].id)
