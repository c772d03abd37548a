"""Lists ungraded completions: a task wants feedback on them and has none (docs/api.md, "Ungraded completions")."""

import heapq

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.services import ungraded_index
from log10_server.store.completions import CompletionRow, Cursor

_MAX_OFFSET = 2**63 - 1


def list_newest(tx: Tx, task_id: str | None, offset: int, limit: int) -> list[CompletionRow]:
    """A page of ungraded completions, newest first, each once: of one task, or of all when `task_id` is None."""
    while True:  # between the two reads one backfill may end and another may begin
        rows = store.ungraded.list_page(tx, task_id, offset, limit)
        if rows is None:
            rows = _while_filling(tx, task_id, offset, limit)
        if rows is not None:
            return rows
        tx.check_deadline()


def _while_filling(tx: Tx, task_id: str | None, offset: int, limit: int) -> list[CompletionRow] | None:
    """As `list_newest` while backfills run: what the index has by now, and what a query finds in the rest.

    The progress is read first, so that what is indexed meanwhile is found twice rather than not at all. None when no
    backfill runs.
    """
    max_rows = min(offset + limit, _MAX_OFFSET)
    progress = store.ungraded.list_backfill_progress(tx, task_id)
    if not progress:  # the last backfill has just ended
        return None
    wanted: set[Cursor] = set()
    for task in store.feedback_tasks.find_many(tx, progress).values():
        tag_ids = ungraded_index.selector_tag_ids(tx, task)
        not_indexed = store.ungraded.list_by_query(tx, task.id, tag_ids, progress[task.id], max_rows)
        wanted = set(heapq.nlargest(max_rows, wanted | not_indexed))
    wanted.update(store.ungraded.list_indexed(tx, task_id, progress, max_rows))
    ids = [cursor.id for cursor in heapq.nlargest(max_rows, wanted)[offset:]]
    rows = store.completions.find_many(tx, ids)
    return [rows[completion_id] for completion_id in ids if completion_id in rows]
