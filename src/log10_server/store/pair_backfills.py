"""How far the rows for pairs are complete for tags that were marked as common a short time ago (`store/common_tags`)."""

from typing import NamedTuple

from sqlalchemy import BigInteger, Column, Delete, Select, bindparam, delete, literal_column

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.schema import Instant, Key, check_columns, foreign_key, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx

pair_backfill = owned_table(
    "pair_backfill",
    ("tag_id",),
    Column("tag_id", BigInteger, autoincrement=False),
    Column("created_at", Instant, nullable=False),
    Column("completion_id", Key, nullable=False),
    foreign_key("tag_id", "tag"),
)


class PairBackfillRow(NamedTuple):
    """A common tag whose rows for pairs are complete only from the newest completion back to this one, inclusive."""

    organization_id: str
    tag_id: int
    created_at: int
    completion_id: str


check_columns(PairBackfillRow, pair_backfill)


def start(tx: Tx, tag_id: int) -> None:
    """Record that the tag has no rows for pairs yet."""
    tx.insert_many(pair_backfill, [PairBackfillRow(tx.organization_id, tag_id, 2**63 - 1, "")])


def find_any(tx: Tx) -> PairBackfillRow | None:
    """A tag whose rows for pairs are not complete, or None."""
    rows = tx.fetch(_ANY)
    return PairBackfillRow(*rows[0]) if rows else None


def store_progress(tx: Tx, progress: PairBackfillRow) -> None:
    """Replace the stored progress of a tag."""
    finish(tx, progress.tag_id)
    tx.insert_many(pair_backfill, [progress])


def finish(tx: Tx, tag_id: int) -> None:
    """Record that all rows for pairs of this tag are stored."""
    tx.run(_REMOVE, tag_id=tag_id)


def _remove(query: QueryBuilder) -> Delete:
    return delete(pair_backfill).where(
        query.is_owned(pair_backfill), pair_backfill.c.tag_id == bindparam("tag_id", type_=BigInteger())
    )


def _any(query: QueryBuilder) -> Select[tuple[str, int, int, str]]:
    return query.rows(pair_backfill).order_by(pair_backfill.c.tag_id).limit(literal_column("1"))


_ANY = Statement(_any)
_REMOVE = Statement(_remove)
