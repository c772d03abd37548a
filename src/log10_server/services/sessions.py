"""Creates and reads sessions (docs/api.md, "Completions").

A session is created by a call for it, or when a completion first names it.
"""

from log10_server import store
from log10_server.clock import uuid7
from log10_server.db.transaction import Tx
from log10_server.errors import NotFound
from log10_server.store.sessions import SessionRow


def create(tx: Tx) -> str:
    """Create a session and return its id."""
    session_id = uuid7(tx.now())
    store.sessions.ensure(tx, [session_id])
    return session_id


def get(tx: Tx, session_id: str) -> SessionRow:
    """Return the session with this id. Raises NotFound."""
    row = store.sessions.find(tx, session_id)
    if row is None:
        raise NotFound(f"There is no session {session_id!r}.")
    return row
