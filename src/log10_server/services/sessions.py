"""Sessions: created by a call of their own, or by the first completion that names them (docs/api.md, "Completions")."""

from log10_server import store
from log10_server.clock import uuid7
from log10_server.db.transaction import Tx
from log10_server.errors import NotFound
from log10_server.store.sessions import SessionRow


def create(tx: Tx) -> str:
    """Create a session and give its id."""
    session_id = uuid7(tx.now())
    store.sessions.ensure(tx, [session_id])
    return session_id


def get(tx: Tx, session_id: str) -> SessionRow:
    """A session by its id. Raises NotFound."""
    row = store.sessions.find(tx, session_id)
    if row is None:
        raise NotFound(f"There is no session {session_id!r}.")
    return row
