"""Adds the rows for the pairs of a tag that was marked as common, in pieces.

A tag may get a hundred thousand of these rows, and other writes would wait until all of them are stored. So marking a
tag stores none. From then on each new completion gets the rows for its pairs, and those of older completions are added
here, newest first, by the background loop. Until that has ended, queries take the tag for one that is not common.
"""

from collections.abc import Sequence

from sqlalchemy import BigInteger, Select, Text, bindparam, func, tuple_

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.store import pair_backfills
from log10_server.store.completion_tags import (
    NO_SECOND_TAG,
    CompletionTagPairRow,
    completion_tag,
    completion_tag_pair,
    pairs_of,
    tags_of,
)
from log10_server.store.pair_backfills import PairBackfillRow


def is_behind(tx: Tx) -> bool:
    """Whether rows for pairs are missing."""
    return pair_backfills.find_any(tx) is not None


def add_pairs(tx: Tx) -> bool:
    """Add the rows for pairs of some more completions of a tag. Returns whether there was a tag to continue with."""
    progress = pair_backfills.find_any(tx)
    if progress is None:
        return False
    limit = tx.thresholds.common_tags.completions_per_step
    completions = tx.fetch(
        _COMPLETIONS_BEFORE,
        tag_id=progress.tag_id,
        before_at=progress.created_at,
        before_id=progress.completion_id,
        limit=limit,
    )
    _add_pairs_of_tag(tx, progress.tag_id, completions)
    if len(completions) < limit:
        pair_backfills.finish(tx, progress.tag_id)
    else:
        completion_id, created_at = completions[-1]
        progress = PairBackfillRow(tx.organization_id, progress.tag_id, created_at, completion_id)
        pair_backfills.store_progress(tx, progress)
    return True


def _add_pairs_of_tag(tx: Tx, tag_id: int, completions: Sequence[tuple[str, int]]) -> None:
    """Add the missing rows for pairs of this common tag on these completions, each with its `created_at`."""
    max_tags = tx.thresholds.common_tags.max_tags_for_pairs
    ids = [completion_id for completion_id, _ in completions]
    unpaired = {completion_id for (completion_id,) in tx.fetch(_WITH_TOO_MANY_TAGS, ids=ids, max_tags=max_tags)}
    pairs = [
        CompletionTagPairRow(tx.organization_id, tag_id, NO_SECOND_TAG, created_at, completion_id)
        for completion_id, created_at in completions
        if completion_id in unpaired
    ]
    tags = tags_of(tx, [completion_id for completion_id in ids if completion_id not in unpaired])
    pairs += [pair for pair in pairs_of(*tags, max_tags) if tag_id in (pair.first_tag_id, pair.second_tag_id)]
    tx.insert_missing(completion_tag_pair, sorted(pairs))


def _completions_before(query: QueryBuilder) -> Select[tuple[str, int]]:
    position = (completion_tag.c.created_at, completion_tag.c.completion_id)
    before = tuple_(bindparam("before_at", type_=BigInteger()), bindparam("before_id", type_=Text()))
    return (
        query.rows(completion_tag, "completion_id", "created_at")
        .where(completion_tag.c.tag_id == bindparam("tag_id", type_=BigInteger()), tuple_(*position) < before)
        .order_by(*(column.desc() for column in position))
        .limit(bindparam("limit", type_=BigInteger()))
    )


_COMPLETIONS_BEFORE = Statement(_completions_before)
_WITH_TOO_MANY_TAGS = Statement(
    lambda query: (
        query.rows(completion_tag, "completion_id")
        .where(query.in_list(completion_tag.c.completion_id, "ids"))
        .group_by(completion_tag.c.completion_id)
        .having(func.count() > bindparam("max_tags", type_=BigInteger()))
    )
)
