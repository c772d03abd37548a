"""Reads what is ungraded: completions that some task wants feedback on and has none (contract 3.7)."""

from log10_server import store
from log10_server.store.completions import CompletionRow
from log10_server.store.database import Tx


def list_newest(tx: Tx, task_id: str | None, offset: int, limit: int) -> list[CompletionRow]:
    """Newest first, each completion once; of one task when `task_id` is given."""
    return store.ungraded.page(tx, task_id, offset, limit)
