"""Reads what is ungraded: completions that some task wants feedback on and has none (docs/api.md, "Ungraded completions")."""

import heapq

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.services import ungraded_index
from log10_server.store.completions import CompletionRow, Cursor

_MAX_OFFSET = 2**63 - 1


def list_newest(tx: Tx, task_id: str | None, offset: int, limit: int) -> list[CompletionRow]:
    """Newest first, each completion once; of one task when `task_id` is given."""
    while True:  # a task may become whole between two looks, and another one may be changed
        rows = store.ungraded.list_page(tx, task_id, offset, limit)
        if rows is None:
            rows = _while_filling(tx, task_id, offset, limit)
        if rows is not None:
            return rows
        tx.check_deadline()


def _while_filling(tx: Tx, task_id: str | None, offset: int, limit: int) -> list[CompletionRow] | None:
    """As `list_newest`, while tasks are not whole: what is kept of them, and what the query finds behind that.

    The notes are read first: what is filled meanwhile is then found twice rather than not at all. None when all are whole.
    """
    most = min(offset + limit, _MAX_OFFSET)
    notes = store.ungraded.list_backfill_progress(tx, task_id)
    if not notes:  # whole by now
        return None
    wanted: set[Cursor] = set()
    for id, task in store.feedback_tasks.find_many(tx, notes).items():
        behind = store.ungraded.list_by_query(tx, id, ungraded_index.selector_tag_ids(tx, task), notes[id], most)
        wanted = set(heapq.nlargest(most, wanted | behind))
    wanted.update(store.ungraded.list_indexed(tx, task_id, notes, most))
    ids = [place.id for place in heapq.nlargest(most, wanted)[offset:]]
    rows = store.completions.find_many(tx, ids)
    return [rows[id] for id in ids if id in rows]
