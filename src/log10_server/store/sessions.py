"""The table of sessions. A session groups the completions of one run of a client program."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Column

from log10_server.db.schema import Instant, Key, check_columns, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx

session = owned_table("session", ("id",), Column("id", Key), Column("created_at", Instant, nullable=False))


class SessionRow(NamedTuple):
    """A session, which has only an id and the instant at which it was created."""

    organization_id: str
    id: str
    created_at: int


check_columns(SessionRow, session)

_EXISTING_IDS = Statement(lambda query: query.rows_by_key(query.rows(session, "id"), session.c.id, "ids"))


def ensure(tx: Tx, session_ids: Iterable[str]) -> None:
    """Add those sessions that don't exist yet, with the current time."""
    add_missing(tx, {session_id: tx.now() for session_id in session_ids})


def add_missing(tx: Tx, sessions: Mapping[str, int]) -> set[str]:
    """Add those sessions that don't exist yet. `sessions` maps ids to instants of creation. Returns the added ids."""
    if not sessions:
        return set()
    ids = sorted(sessions)
    existing = {session_id for (session_id,) in tx.fetch(_EXISTING_IDS, ids=ids)}
    missing = [SessionRow(tx.organization_id, each, sessions[each]) for each in ids if each not in existing]
    tx.insert_many(session, missing)
    return {row.id for row in missing}


def find(tx: Tx, session_id: str) -> SessionRow | None:
    """The session with this id, or None."""
    row = tx.connection.execute(tx.rows(session).where(session.c.id == session_id)).first()
    return SessionRow(*row) if row is not None else None
