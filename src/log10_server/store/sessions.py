"""Sessions: what a program did in one go."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Column

from log10_server.db.schema import Instant, Key, check_columns, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx

session = owned_table("session", ("id",), Column("id", Key), Column("created_at", Instant, nullable=False))


class SessionRow(NamedTuple):
    organization_id: str
    id: str
    created_at: int


check_columns(SessionRow, session)

_AMONG = Statement(lambda query: query.rows_by_key(query.rows(session, "id"), session.c.id, "ids"))


def ensure(tx: Tx, session_ids: Iterable[str]) -> None:
    """Make those sessions that are not there yet, now."""
    add_missing(tx, {id: tx.now() for id in session_ids})


def add_missing(tx: Tx, sessions: Mapping[str, int]) -> set[str]:
    """Make those sessions that are not there yet, at the instants given; gives their ids."""
    if not sessions:
        return set()
    wanted = sorted(sessions)
    found = {id for (id,) in tx.fetch(_AMONG, ids=wanted)}
    missing = [SessionRow(tx.organization_id, id, sessions[id]) for id in wanted if id not in found]
    tx.insert_many(session, missing)
    return {row.id for row in missing}


def find(tx: Tx, session_id: str) -> SessionRow | None:
    found = tx.connection.execute(tx.rows(session).where(session.c.id == session_id)).first()
    return SessionRow(*found) if found is not None else None
