"""How far the roll-up of each organization is, as a position in the order of its completions.

Sums and counts that are derived from completions cover exactly the completions at or below this position
(`services/rollup`). The module lies below `store/completions`, whose statements look up the position with their rows.
"""

from typing import NamedTuple

from sqlalchemy import Column, Select, delete

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.schema import Instant, Key, check_columns, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx

rollup = owned_table(
    "rollup",
    (),
    Column("created_at", Instant, nullable=False),
    Column("completion_id", Key, nullable=False),
)


class RollupRow(NamedTuple):
    """The newest completion that the summaries of an organization cover. Without a row they cover none."""

    organization_id: str
    created_at: int
    completion_id: str


check_columns(RollupRow, rollup)


class Watermark(NamedTuple):
    """A position in the order of completions. It compares with a pair of `created_at` and id."""

    created_at: int
    completion_id: str


# The position below all completions.
NOTHING_COVERED = Watermark(-(2**63), "")


def find_watermark(tx: Tx) -> Watermark:
    """The position up to which the summaries cover the organization's completions."""
    rows = tx.fetch(_WATERMARK)
    return Watermark(*rows[0]) if rows else NOTHING_COVERED


def find_watermark_with_inserts(tx: Tx) -> Watermark:
    """The same as `find_watermark`, without a round trip of its own inside `Tx.buffered_inserts`."""
    rows = tx.fetch_with_inserts(rollup)
    return Watermark(*rows[0][1:]) if rows else NOTHING_COVERED


def store_watermark(tx: Tx, watermark: Watermark) -> None:
    """Store the position. The caller has added everything up to it to the summaries, in the same transaction."""
    tx.run(_REMOVE)
    tx.insert_many(rollup, [RollupRow(tx.organization_id, *watermark)])


def select_watermark(query: QueryBuilder) -> Select[tuple[int, str]]:
    """A query for the position, to be part of another statement. It has no row when nothing is covered."""
    return query.rows(rollup, "created_at", "completion_id")


_WATERMARK = Statement(select_watermark)
_REMOVE = Statement(lambda query: delete(rollup).where(query.is_owned(rollup)))
