"""Creates and reads sessions (docs/api.md, "Completions").

A session exists once a call has created it, or once a row has named it.
"""

from collections.abc import Mapping

from log10_server import store
from log10_server.clock import uuid7
from log10_server.db.transaction import Tx
from log10_server.errors import NotFound
from log10_server.store.sessions import SessionRow


def create(tx: Tx) -> str:
    """Create a session and return its id."""
    session_id = uuid7(tx.now())
    store.sessions.add_missing(tx, {session_id: tx.now()})
    return session_id


def keep(tx: Tx, sessions: Mapping[str, int]) -> None:
    """Make sessions exist that no completion may belong to any more. Call this before the completions are changed.

    `sessions` has, by session id, the instant of its creation, for a session that no stored completion belongs to.
    """
    store.sessions.add_missing(
        tx,
        {
            session_id: _earliest(store.sessions.find_first_use(tx, session_id), at)
            for session_id, at in sessions.items()
        },
    )


def get(tx: Tx, session_id: str) -> SessionRow:
    """Return the session with this id. Raises NotFound."""
    row = store.sessions.find(tx, session_id)
    if row is None:
        raise NotFound(f"There is no session {session_id!r}.")
    return row


def _earliest(first_use: int | None, created_at: int) -> int:
    return created_at if first_use is None else min(first_use, created_at)
