"""The table of sessions. A session groups the completions of one run of a client program.

A session that a completion belongs to needs no row, because the index of completions by session finds it. There are
rows only for sessions that were created before anything was logged in them, that have lost their last completion, or
that were stored by version 0.1.
"""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import BigInteger, Column, Text, bindparam, literal_column

from log10_server.db.schema import Instant, Key, check_columns, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.store.completions import completion

session = owned_table("session", ("id",), Column("id", Key), Column("created_at", Instant, nullable=False))


class SessionRow(NamedTuple):
    """A session, which has only an id and the instant at which it was created."""

    organization_id: str
    id: str
    created_at: int


check_columns(SessionRow, session)

_EXISTING_IDS = Statement(lambda query: query.rows_by_key(query.rows(session, "id"), session.c.id, "ids"))
_BY_ID = Statement(lambda query: query.rows(session).where(session.c.id == bindparam("id", type_=Text())))
_OLDEST_COMPLETION = Statement(
    lambda query: (
        query.rows(completion, "created_at")
        .where(completion.c.session_id == bindparam("session_id", type_=Text()))
        .order_by(completion.c.created_at, completion.c.id)
        .limit(literal_column("1", BigInteger()))
    )
)


def add_missing(tx: Tx, sessions: Mapping[str, int]) -> set[str]:
    """Store those sessions that have no row yet. `sessions` maps ids to instants of creation. Returns the added ids."""
    if not sessions:
        return set()
    ids = sorted(sessions)
    existing = {session_id for (session_id,) in tx.fetch(_EXISTING_IDS, ids=ids)}
    missing = [SessionRow(tx.organization_id, each, sessions[each]) for each in ids if each not in existing]
    tx.insert_many(session, missing)
    return {row.id for row in missing}


def find(tx: Tx, session_id: str) -> SessionRow | None:
    """The session with this id, or None. Without a row, it was created together with its oldest completion."""
    rows = tx.fetch(_BY_ID, id=session_id)
    if rows:
        return SessionRow(*rows[0])
    created_at = find_first_use(tx, session_id)
    return None if created_at is None else SessionRow(tx.organization_id, session_id, created_at)


def find_first_use(tx: Tx, session_id: str) -> int | None:
    """When the oldest completion of the session was created; None if it has none."""
    rows = tx.fetch(_OLDEST_COMPLETION, session_id=session_id)
    return rows[0][0] if rows else None
