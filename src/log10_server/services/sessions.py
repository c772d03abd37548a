"""Sessions: made, or named by a completion (docs/api.md, "Completions")."""

from log10_server import store
from log10_server.clock import uuid7
from log10_server.db.transaction import Tx
from log10_server.errors import NotFound
from log10_server.store.sessions import SessionRow


def create(tx: Tx) -> str:
    """The id of a new session."""
    id = uuid7(tx.now())
    store.sessions.ensure(tx, [id])
    return id


def get(tx: Tx, session_id: str) -> SessionRow:
    """Raises NotFound."""
    row = store.sessions.find(tx, session_id)
    if row is None:
        raise NotFound(f"There is no session {session_id!r}.")
    return row
