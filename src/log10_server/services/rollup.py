"""Keeps summaries of completions, such as sums and counts, without making the creation of a completion slower.

Each organization has a watermark, which is a position in the order of completions, by `created_at` and id. The
summaries cover exactly the completions at or below it. An answer combines them with a query over the rows above it, in
one transaction, so it is exact at any moment. A background job (`runtime/rollup`) moves the watermark up in pieces. It
never covers the newest completions, because these are the ones that are still merged with further rows.

So a new completion costs nothing here. A transaction that changes, deletes or inserts a completion at or below the
watermark must call `remove` before and `add` after it. All of this happens under the organization's lock, so the
watermark can't move while a transaction uses it.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from log10_server import store
from log10_server.db.database import Connection
from log10_server.db.transaction import Tx
from log10_server.services import usage_sums
from log10_server.store.covered import CoveredCompletion
from log10_server.store.rollups import Watermark


class Summary(Protocol):
    """What is kept about the covered completions. A module of the store that has these two functions is a summary.

    A completion counts under each of its `lists`. `add` and `remove` are each other's opposite: a completion that was
    added and removed must leave nothing behind. The same completion, in the same state, is never added twice.
    """

    def add(self, tx: Tx, rows: Sequence[CoveredCompletion]) -> None:
        """Add these completions."""

    def remove(self, tx: Tx, rows: Sequence[CoveredCompletion]) -> None:
        """Take back these completions, which were added as they are here."""


# A migration that adds a summary must empty the other summaries and the table `rollup`, so that the roll-up begins again.
SUMMARIES: Sequence[Summary] = (usage_sums, store.counted_completions)


def advance(tx: Tx) -> bool:
    """Cover the next piece of completions. Returns whether there was one."""
    watermark = store.rollups.find_watermark(tx)
    if not _is_behind(tx, watermark):
        return False
    sizes = tx.thresholds.rollup
    rows = store.covered.list_next(tx, watermark, sizes.batch_size, sizes.tag_bytes)
    for summary in SUMMARIES:
        summary.add(tx, rows)
    store.rollups.store_watermark(tx, Watermark(rows[-1].created_at, rows[-1].id))
    return True


def is_behind(tx: Tx) -> bool:
    """Return whether there are enough completions above the watermark for the next piece."""
    return _is_behind(tx, store.rollups.find_watermark(tx))


def list_organizations(connection: Connection) -> list[str]:
    """Return the ids of all organizations."""
    return [row.id for row in store.organizations.list_all(connection)]


def remove(tx: Tx, completion_ids: Iterable[str]) -> None:
    """Take completions out of the summaries. They must be covered, and still be stored as they were added."""
    rows = store.covered.list_many(tx, completion_ids)
    for summary in SUMMARIES:
        summary.remove(tx, rows)


def add(tx: Tx, completion_ids: Iterable[str], watermark: Watermark, new_common_tags: Sequence[int] = ()) -> None:
    """Add completions at or below the watermark to the summaries, as they are stored now.

    `new_common_tags` are the tags that this transaction has marked as common. Summaries of these do not exist yet, so
    all covered completions are added to them.
    """
    rows = [_without(row, new_common_tags) for row in store.covered.list_many(tx, completion_ids)]
    for tag_id in new_common_tags:
        rows += store.covered.list_with_tag(tx, tag_id, watermark)
    if rows:
        for summary in SUMMARIES:
            summary.add(tx, rows)


def _is_behind(tx: Tx, watermark: Watermark) -> bool:
    sizes = tx.thresholds.rollup
    return store.covered.find_end(tx, watermark, sizes.batch_size + sizes.uncovered) is not None


def _without(row: CoveredCompletion, tag_ids: Sequence[int]) -> CoveredCompletion:
    return row._replace(lists=tuple(key for key in row.lists if key not in tag_ids)) if tag_ids else row
