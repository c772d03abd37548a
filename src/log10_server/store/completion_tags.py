"""Which completions have which tags: an index from each tag to its completions, and one from each pair of common tags.

A query for several tags reads the completions of the rarest tag, and checks each other tag with one index lookup. If
two tags are each on half a million completions but together on ten, that takes half a million lookups. So a tag on more
than a thousand completions is marked as common, permanently, and for every pair of common tags of a completion there is
a row. For any two tags that are marked as common, these rows are complete, except while they are being added for a tag
that was marked a short time ago (`store/common_tags`).

A completion may have a thousand tags, which would make half a million pairs. So a completion with more than
`CommonTags.max_tags_for_pairs` tags has no rows for pairs. It has one row for each of its common tags, with
NO_SECOND_TAG as the second tag. A query for a pair therefore reads the rows of that pair, and also the rows of the
first tag with NO_SECOND_TAG, and checks for these whether the completion has the second tag.
"""

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import combinations, product
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    ScalarSelect,
    Select,
    Table,
    bindparam,
    func,
    literal_column,
    select,
    true,
    union_all,
    update,
)

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.schema import Instant, Key, check_columns, foreign_key, ordered_index, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.store import pair_backfills
from log10_server.store.pair_backfills import pair_backfill
from log10_server.store.tags import tag

completion_tag = owned_table(
    "completion_tag",
    ("completion_id", "tag_id"),
    Column("completion_id", Key),
    Column("tag_id", BigInteger, autoincrement=False),
    Column("created_at", Instant, nullable=False),
    foreign_key("completion_id", "completion"),
    foreign_key("tag_id", "tag"),
    links_only=True,
)
ordered_index(completion_tag, "tag_id", "created_at", "completion_id")

# There is no foreign key to the completion, because no index begins with it: each deletion of a completion would scan
# the whole table.
completion_tag_pair = owned_table(
    "completion_tag_pair",
    ("first_tag_id", "second_tag_id", "created_at", "completion_id"),
    Column("first_tag_id", BigInteger, autoincrement=False),
    Column("second_tag_id", BigInteger, autoincrement=False),
    Column("created_at", Instant, autoincrement=False),
    Column("completion_id", Key),
    foreign_key("first_tag_id", "tag"),
    links_only=True,
)


class CompletionTagRow(NamedTuple):
    """A tag of a completion. `created_at` is that of the completion, so that the index lists completions by time."""

    organization_id: str
    completion_id: str
    tag_id: int
    created_at: int


class CompletionTagPairRow(NamedTuple):
    """A completion and two of its common tags, the smaller key first.

    If the completion has too many tags for pairs, `second_tag_id` is NO_SECOND_TAG.
    """

    organization_id: str
    first_tag_id: int
    second_tag_id: int
    created_at: int
    completion_id: str


check_columns(CompletionTagRow, completion_tag)
check_columns(CompletionTagPairRow, completion_tag_pair)

NO_SECOND_TAG = 0


class TaggedCompletions(NamedTuple):
    """A query for the completions that have all of some tags; `tag_index` has their `created_at` and `completion_id`.

    A list that is ordered by these two columns must also select them, because only then can SQLite merge two ranges of
    an index without sorting. `candidates` selects the rows of `tag_index` that the query has to check; there may be
    many more of them than matches.
    """

    rows: Select[Any]
    tag_index: FromClause
    candidates: Select[Any]


def add_tags(tx: Tx, rows: Iterable[CompletionTagRow], common: Collection[int] = ()) -> list[int]:
    """Add all tags of some completions to the index. `common` has the ids of the tags that are marked as common.

    Returns the ids of the tags that this call has marked as common.
    """
    ordered = sorted(rows)
    tx.insert_many(completion_tag, ordered)
    tx.insert_many(completion_tag_pair, sorted(pairs_of(ordered, common, tx.thresholds.common_tags.max_tags_for_pairs)))
    return _mark_common(tx, ordered, common)


def remove_tags(tx: Tx, completion_ids: Iterable[str]) -> None:
    """Remove all tags of these completions from the index."""
    rows, common = tags_of(tx, sorted(completion_ids))
    tx.remove_many(completion_tag_pair, sorted(pairs_of(rows, common, tx.thresholds.common_tags.max_tags_for_pairs)))
    tx.remove_many(completion_tag, sorted(rows))


def list_common_tags(tx: Tx, completion_ids: Sequence[str]) -> dict[str, list[int]]:
    """For each of these completions that has common tags, their keys."""
    return _tags_by_completion(tx, _COMMON_TAGS_OF, completion_ids)


def list_tags(tx: Tx, completion_ids: Sequence[str]) -> dict[str, list[int]]:
    """For each of these completions that has tags, their keys."""
    return _tags_by_completion(tx, _TAGS_OF, completion_ids)


def _tags_by_completion(tx: Tx, statement: Statement, completion_ids: Sequence[str]) -> dict[str, list[int]]:
    by_completion: dict[str, list[int]] = {}
    for completion_id, tag_id, *_ in tx.fetch(statement, ids=list(completion_ids)) if completion_ids else ():
        by_completion.setdefault(completion_id, []).append(tag_id)
    return by_completion


def list_with_all_tags(tx: Tx, tag_ids: Sequence[int], limit: int) -> list[str]:
    """Ids of the completions that have every one of `tag_ids`, newest first, `limit` at most.

    Empty if `tag_ids` is empty.
    """
    if len(tag_ids) < 2:
        by_tag = list_with_each_tag(tx, tag_ids, limit)
        return [completion_id for completion_ids in by_tag.values() for completion_id in completion_ids]
    rows, index, _ = select_with_all_tags(tx, tag_ids)
    created_at, completion_id = index.c.created_at, index.c.completion_id
    newest = rows.with_only_columns(completion_id, created_at).order_by(created_at.desc(), completion_id.desc())
    return list(tx.connection.scalars(newest.limit(limit)))


def list_with_each_tag(tx: Tx, tag_ids: Sequence[int], limit: int) -> dict[int, list[str]]:
    """For each of `tag_ids` the ids of the completions that have it, newest first, `limit` at most for each."""
    by_tag: dict[int, list[str]] = {}
    for tag_id, completion_id in tx.fetch_each(_NEWEST_WITH_TAG, "tag_id", tag_ids, limit=limit):
        by_tag.setdefault(tag_id, []).append(completion_id)
    return by_tag


def filter_with_all_tags(tx: Tx, completion_ids: Sequence[str], tag_ids: Sequence[int]) -> list[tuple[str, int]]:
    """Those of these completions that have all of `tag_ids`, each with its `created_at`."""
    numbers = Counter(
        (completion_id, created_at)
        for completion_id, created_at in tx.fetch(_WITH_TAGS, ids=list(completion_ids), tag_ids=list(tag_ids))
    )
    return [key for key, number in numbers.items() if number == len(tag_ids)]


def select_with_all_tags(tx: Tx, tag_ids: Sequence[int]) -> TaggedCompletions:
    """A query for the completions that have every one of `tag_ids`, of which there must be at least one.

    It starts at the rarest tag or pair, because that has the fewest rows, and checks each other tag with an index
    lookup. The check is a scalar subquery, because Postgres would turn `EXISTS` into a join that may start at the
    commonest tag.
    """
    index, candidates, other_tag_ids = _choose_start(tx, tag_ids)
    rows = candidates
    for number, tag_id in enumerate(other_tag_ids[:_CHECKED_ONE_BY_ONE]):
        other = completion_tag.alias(f"other_{number}")
        rows = rows.where(_count_tags(index, other, other.c.tag_id == tag_id) == 1)
    if remaining := other_tag_ids[_CHECKED_ONE_BY_ONE:]:  # in one condition, as SQLite limits the depth of expressions
        other = completion_tag.alias("others")
        rows = rows.where(_count_tags(index, other, tx.in_list(other.c.tag_id, remaining)) == len(remaining))
    return TaggedCompletions(rows, index, candidates)


def list_with_all_tags_and_each(
    tx: Tx, tag_ids: Sequence[int], shared_tag_ids: Sequence[int], limit: int
) -> dict[int, list[str]]:
    """For each of `tag_ids`, the ids of the completions that have it and also all of `shared_tag_ids` (at least one).

    They are newest first, `limit` at most for each tag. A tag without completions is left out. One statement finds them
    for any number of tags.
    """
    rows, index, _ = select_with_all_tags(tx, shared_tag_ids)
    shared = rows.with_only_columns(index.c.organization_id, index.c.completion_id).subquery()
    each = completion_tag.alias("each_tag")
    is_same = (each.c.organization_id == shared.c.organization_id) & (each.c.completion_id == shared.c.completion_id)
    newest = (each.c.created_at.desc(), each.c.completion_id.desc())
    rank = func.row_number().over(partition_by=each.c.tag_id, order_by=newest).label("rank")
    ranked = (
        select(each.c.tag_id, each.c.completion_id, rank)
        .join(shared, is_same)
        .where(tx.in_list(each.c.tag_id, tag_ids))
        .subquery()
    )
    newest_of_each = (
        select(ranked.c.tag_id, ranked.c.completion_id)
        .where(ranked.c.rank <= limit)
        .order_by(ranked.c.tag_id, ranked.c.rank)
    )
    by_tag: dict[int, list[str]] = {}
    for tag_id, completion_id in tx.connection.execute(newest_of_each):
        by_tag.setdefault(tag_id, []).append(completion_id)
    return by_tag


_CHECKED_ONE_BY_ONE = 8
_MAX_COUNTED = 1001


def _choose_start(tx: Tx, tag_ids: Sequence[int]) -> tuple[FromClause, Select[Any], list[int]]:
    """Choose where the query starts. Returns an index, its rows for one tag or pair, and the tags still to be checked.

    Of many tags only the first few are considered. If any of them isn't marked as common, the query starts at the
    rarest of those, and otherwise at the rarest pair.
    """
    distinct = list(dict.fromkeys(tag_ids))
    first_few = distinct[:_CHECKED_ONE_BY_ONE]
    rare = sorted(set(first_few) - find_common(tx, first_few)) if len(distinct) > 1 else distinct
    if not rare:
        pairs = [{"first": first, "second": second} for first, second in combinations(sorted(first_few), 2)]
        first, second = _find_rarest(tx, _COUNT_OF_PAIR, pairs).values()
        pair = _select_pair(tx, first, second)
        return pair, select(pair), [tag_id for tag_id in distinct if tag_id not in (first, second)]
    (rarest,) = _find_rarest(tx, _COUNT_OF_TAG, [{"tag_id": tag_id} for tag_id in rare]).values()
    rows = tx.rows(completion_tag).where(completion_tag.c.tag_id == rarest)
    return completion_tag, rows, [tag_id for tag_id in distinct if tag_id != rarest]


def _select_pair(tx: Tx, first: int, second: int) -> FromClause:
    """The completions that have two common tags."""
    pair, unpaired = completion_tag_pair, completion_tag_pair.alias("unpaired")
    other = completion_tag.alias("second_tag")
    columns = ("organization_id", "completion_id", "created_at")
    of_pair = tx.rows(pair, *columns).where(pair.c.first_tag_id == first, pair.c.second_tag_id == second)
    of_unpaired = select(*(unpaired.c[name] for name in columns)).where(
        unpaired.c.organization_id == tx.organization_id,
        unpaired.c.first_tag_id == first,
        unpaired.c.second_tag_id == NO_SECOND_TAG,
        _count_tags(unpaired, other, other.c.tag_id == second) == 1,
    )
    # Postgres merges the two ranges without sorting only if each has its own ORDER BY.
    ordered = (
        rows.order_by(table.c.created_at.desc(), table.c.completion_id.desc()).subquery()
        for rows, table in ((of_pair, pair), (of_unpaired, unpaired))
    )
    return union_all(*map(select, ordered)).subquery("of_pair")


def _count_tags(index: FromClause, tags: Any, is_counted: ColumnElement[bool]) -> ScalarSelect[int]:
    """A subquery for each row of `index`: how many rows of `tags` its completion has that meet `is_counted`."""
    is_same = (tags.c.organization_id == index.c.organization_id) & (tags.c.completion_id == index.c.completion_id)
    return select(func.count()).select_from(tags).where(is_same, is_counted).correlate(index).scalar_subquery()


def find_common(tx: Tx, tag_ids: Sequence[int]) -> set[int]:
    """Those of the tags that are marked as common, so that the rows of their pairs are complete."""
    return {tag_id for (tag_id,) in tx.fetch(_COMMON, ids=list(tag_ids))}


def _find_rarest(tx: Tx, count: Statement, choices: Sequence[dict[str, int]]) -> dict[str, int]:
    """The choice with the lowest count. Each choice has the parameters of `count`. A single choice is not counted."""
    if len(choices) == 1:
        return choices[0]
    return min(choices, key=lambda choice: int(tx.fetch(count, **choice)[0][0]))


def pairs_of(
    rows: Iterable[CompletionTagRow], common: Collection[int], max_tags_for_pairs: int
) -> Iterator[CompletionTagPairRow]:
    """The rows of pairs for these completions. `rows` must have all tags of each completion."""
    if not common:
        return
    by_completion: dict[str, list[CompletionTagRow]] = {}
    for row in rows:
        by_completion.setdefault(row.completion_id, []).append(row)
    for completion_id, tags in by_completion.items():
        organization_id, created_at = tags[0].organization_id, tags[0].created_at
        common_tag_ids = sorted([row.tag_id for row in tags if row.tag_id in common])
        pairs: Iterable[tuple[int, int]] = (
            product(common_tag_ids, [NO_SECOND_TAG])
            if len(tags) > max_tags_for_pairs
            else combinations(common_tag_ids, 2)
        )
        for first, second in pairs:
            yield CompletionTagPairRow(organization_id, first, second, created_at, completion_id)


def _mark_common(tx: Tx, rows: Sequence[CompletionTagRow], common: Collection[int]) -> list[int]:
    """Mark those tags of `rows` that are now on enough completions to be common, and return them.

    Counting for each row would cost too much, and marking is not urgent. So only the tags of a sample of the
    completions are counted; the sample is chosen by a hash of the id. When a tag is marked affects the cost of a query,
    never its result.
    """
    sample_one_in = tx.thresholds.common_tags.sample_one_in
    unmarked = {
        row.tag_id
        for row in rows
        if row.tag_id not in common and zlib.crc32(row.completion_id.encode()) % sample_one_in == 0
    }
    if not unmarked:
        return []
    min_completions = tx.thresholds.common_tags.min_completions
    above_minimum = tx.fetch(_ABOVE_MINIMUM, ids=sorted(unmarked), min_completions=min_completions)
    # Marking a tag costs some milliseconds, as its completions are counted. The other tags are marked another time.
    marked = [tag_id for (tag_id,) in above_minimum[: tx.thresholds.common_tags.marked_at_once]]
    for tag_id in marked:
        tx.run(_MARK, tag_id=tag_id)
        pair_backfills.start(tx, tag_id)
    return marked


def tags_of(tx: Tx, completion_ids: Sequence[str]) -> tuple[list[CompletionTagRow], set[int]]:
    """All tags of these completions, and which of them are common."""
    tags = tx.fetch(_TAGS_OF, ids=list(completion_ids))
    rows = [
        CompletionTagRow(tx.organization_id, completion_id, tag_id, created_at)
        for completion_id, tag_id, created_at, _ in tags
    ]
    return rows, {tag_id for _, tag_id, _, is_common in tags if is_common}


def _select_common(query: QueryBuilder) -> Select[Any]:
    """A query for the common tags whose rows for pairs are complete."""
    of_tag = query.rows(pair_backfill, "tag_id").where(pair_backfill.c.tag_id == tag.c.id).correlate(tag)
    return query.rows(tag, "id").where(tag.c.is_common, ~of_tag.exists())


def _count_of(query: QueryBuilder, table: Table, **parameters: str) -> Select[Any]:
    """A query that counts the rows that have the values of these parameters in these columns, up to `_MAX_COUNTED`."""
    bounded = query.rows(table, "organization_id").where(
        *(table.c[column] == bindparam(name, type_=BigInteger()) for column, name in parameters.items())
    )
    return select(func.count()).select_from(bounded.limit(literal_column(str(_MAX_COUNTED))).subquery())


def _above_minimum(query: QueryBuilder) -> Select[Any]:
    """A query for those of the tags `ids` that are on more than `min_completions` completions."""
    next_completion = (
        query.rows(completion_tag, "tag_id")
        .where(completion_tag.c.tag_id == tag.c.id)
        .limit(1)
        .offset(bindparam("min_completions", type_=BigInteger()))
        .correlate(tag)
        .scalar_subquery()
    )
    return query.rows_by_key(query.rows(tag, "id").where(next_completion.is_not(None)), tag.c.id, "ids")


_is_same_tag = (tag.c.organization_id == completion_tag.c.organization_id) & (tag.c.id == completion_tag.c.tag_id)

_NEWEST_WITH_TAG = Statement(
    lambda query: (
        query.rows(completion_tag, "tag_id", "completion_id")
        .where(completion_tag.c.tag_id == query.each_value("tag_id", BigInteger()))
        .order_by(completion_tag.c.created_at.desc(), completion_tag.c.completion_id.desc())
        .limit(bindparam("limit", type_=BigInteger()))
    )
)
_COMMON = Statement(lambda query: query.rows_by_key(_select_common(query), tag.c.id, "ids"))
_COUNT_OF_TAG = Statement(lambda query: _count_of(query, completion_tag, tag_id="tag_id"))
_COUNT_OF_PAIR = Statement(
    lambda query: _count_of(query, completion_tag_pair, first_tag_id="first", second_tag_id="second")
)
_TAGS_OF = Statement(
    lambda query: query.rows_by_key(
        query.rows(completion_tag, "completion_id", "tag_id", "created_at")
        .join(tag, _is_same_tag)
        .add_columns(tag.c.is_common),
        completion_tag.c.completion_id,
        "ids",
    )
)
_COMMON_TAGS_OF = Statement(
    lambda query: query.rows_by_key(
        query.rows(completion_tag, "completion_id", "tag_id").join(tag, _is_same_tag).where(tag.c.is_common),
        completion_tag.c.completion_id,
        "ids",
    )
)
_WITH_TAGS = Statement(
    lambda query: query.rows_by_key(
        query.rows(completion_tag, "completion_id", "created_at").where(
            query.in_list(completion_tag.c.tag_id, "tag_ids")
        ),
        completion_tag.c.completion_id,
        "ids",
    )
)
_ABOVE_MINIMUM = Statement(_above_minimum)
_MARK = Statement(
    lambda query: (
        update(tag)
        .where(query.is_owned(tag), tag.c.id == bindparam("tag_id", type_=BigInteger()))
        .values(is_common=true())
    )
)
