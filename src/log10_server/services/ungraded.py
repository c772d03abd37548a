"""Lists ungraded completions (docs/api.md, "Ungraded completions").

A completion is ungraded if a task wants feedback on it and it has none.
"""

import heapq

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.services import ungraded_index
from log10_server.store.completions import Cursor

_MAX_OFFSET = 2**63 - 1


def list_newest(tx: Tx, task_id: str | None, offset: int, limit: int) -> list[str]:
    """List the ids of ungraded completions, newest first, each once.

    If `task_id` is None, the ungraded completions of all tasks are listed.
    """
    while True:  # a backfill may end, and another begin, between the two reads
        ids = store.ungraded.list_page(tx, task_id, offset, limit)
        if ids is None:
            ids = _while_filling(tx, task_id, offset, limit)
        if ids is not None:
            return ids
        tx.check_deadline()


def _while_filling(tx: Tx, task_id: str | None, offset: int, limit: int) -> list[str] | None:
    """List what `list_newest` lists, while backfills have not indexed all completions yet.

    The result combines the rows of the index with a query over the completions that are not indexed yet. The progress
    of the backfills is read first: a completion that is indexed after that is found twice, which is harmless, and none
    is missed. Returns None if no backfill is running.
    """
    max_rows = min(offset + limit, _MAX_OFFSET)
    progress = store.ungraded.list_backfill_progress(tx, task_id)
    if not progress:  # the last backfill has just ended
        return None
    newest: set[Cursor] = set()
    for task in store.feedback_tasks.find_many(tx, progress).values():
        tag_ids = ungraded_index.selector_tag_ids(tx, task)
        not_indexed = store.ungraded.list_by_query(tx, task.id, tag_ids, progress[task.id], max_rows)
        newest = set(heapq.nlargest(max_rows, newest | not_indexed))
    newest.update(store.ungraded.list_indexed(tx, task_id, progress, max_rows))
    return [cursor.id for cursor in heapq.nlargest(max_rows, newest)[offset:]]
