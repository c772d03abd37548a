"""Which completions have which tags: an index from each tag to them, and one from each pair of common tags.

A selector is driven from the rarest of its tags, and each other tag is one look into an index. Two tags that are each
on half of a million completions, and together on ten, would cost half a million looks that way. So a tag that is on
more than a thousand completions is marked as common, for good, and for each completion a row is kept for every pair
of its common tags. For two tags that are both marked these rows are complete.

A completion may have a thousand tags, and half a million pairs. One with more than `CommonTags.max_tags_for_pairs` tags has no pairs
but one row for each of its common tags, with NO_SECOND_TAG in the place of the second: a pair's completions are its own rows,
and those rows of its first tag that turn out to have the second too.
"""

import zlib
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
    case,
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
from log10_server.store.tags import TagRow, tag

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

# No link to the completion: the database would look through the whole table for each completion that is deleted.
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
    """`created_at` is the completion's: the index gives its completions newest first."""

    organization_id: str
    completion_id: str
    tag_id: int
    created_at: int


class CompletionTagPairRow(NamedTuple):
    """A completion and two common tags of it, the smaller key first; or one of a max_tags_for_pairs of tags, and NO_SECOND_TAG."""

    organization_id: str
    first_tag_id: int
    second_tag_id: int
    created_at: int
    completion_id: str


check_columns(CompletionTagRow, completion_tag)
check_columns(CompletionTagPairRow, completion_tag_pair)

NO_SECOND_TAG = 0


class AllTagged(NamedTuple):
    """Completions that have all of some tags; `by` has their `created_at` and `completion_id`.

    A list in that order must select these two columns: SQLite can read two indexes as one only then. `looked_at` are
    the rows of `by` that are read to find them, of which there may be many more.
    """

    found: Select[Any]
    by: FromClause
    looked_at: Select[Any]


def add_tags(tx: Tx, rows: Iterable[CompletionTagRow], common: Collection[int] = ()) -> None:
    """Add all tags of some completions to the index; `common` are those of the tags that are marked as common."""
    ordered = sorted(rows)
    tx.insert_many(completion_tag, ordered)
    tx.insert_many(completion_tag_pair, sorted(_pairs(ordered, common, tx.thresholds.common_tags.max_tags_for_pairs)))
    _mark_common(tx, ordered, common)


def remove_tags(tx: Tx, completion_ids: Iterable[str]) -> None:
    rows, common = _tags_of(tx, sorted(completion_ids))
    tx.remove_many(completion_tag_pair, sorted(_pairs(rows, common, tx.thresholds.common_tags.max_tags_for_pairs)))
    tx.remove_many(completion_tag, sorted(rows))


def list_with_all_tags(tx: Tx, tag_ids: Sequence[int], limit: int) -> list[str]:
    """Ids of the completions that have every one of `tag_ids`, newest first, `limit` at most. No tags: none."""
    if len(tag_ids) < 2:
        return [id for tag_id in tag_ids for id in list_with_each_tag(tx, [tag_id], limit).get(tag_id, [])]
    found, by, _ = select_with_all_tags(tx, tag_ids)
    at, id = by.c.created_at, by.c.completion_id
    newest = found.with_only_columns(id, at).order_by(at.desc(), id.desc()).limit(limit)
    return list(tx.connection.scalars(newest))


def list_with_each_tag(tx: Tx, tag_ids: Sequence[int], limit: int) -> dict[int, list[str]]:
    """For each of `tag_ids` the ids of the completions that have it, newest first, `limit` at most for each."""
    found: dict[int, list[str]] = {}
    for tag_id, completion_id in tx.fetch_each(_HAVING, "tag_id", tag_ids, limit=limit):
        found.setdefault(tag_id, []).append(completion_id)
    return found


def select_with_all_tags(tx: Tx, tag_ids: Sequence[int]) -> AllTagged:
    """A row for each completion that has every one of `tag_ids` (one at least).

    Driven from the rarest tag or pair: its rows are few, and each other tag is one look into an index. A scalar
    subquery keeps that order; Postgres turns `EXISTS` into a join that may start at the commonest tag.
    """
    by, looked_at, others = _driven(tx, tag_ids)
    found = looked_at
    for number, other in enumerate(others[:_ONE_BY_ONE]):
        found = found.where(_how_many_of(by, too := completion_tag.alias(f"too_{number}"), too.c.tag_id == other) == 1)
    if rest := others[_ONE_BY_ONE:]:  # SQLite limits how deep an expression may be
        too = completion_tag.alias("too")
        found = found.where(_how_many_of(by, too, tx.in_list(too.c.tag_id, rest)) == len(rest))
    return AllTagged(found, by, looked_at)


def list_with_all_tags_and_each(
    tx: Tx, tag_ids: Sequence[int], besides: Sequence[int], limit: int
) -> dict[int, list[str]]:
    """For each of `tag_ids` the ids of those completions that have it and all of `besides` (one at least).

    Newest first, `limit` at most for each tag; a tag that none has is left out. One statement for any number of tags.
    """
    all_tagged = select_with_all_tags(tx, besides)
    theirs = all_tagged.found.with_only_columns(
        all_tagged.by.c.organization_id, all_tagged.by.c.completion_id
    ).subquery()
    each = completion_tag.alias("each_tag")
    same = (each.c.organization_id == theirs.c.organization_id) & (each.c.completion_id == theirs.c.completion_id)
    newest = (each.c.created_at.desc(), each.c.completion_id.desc())
    place = func.row_number().over(partition_by=each.c.tag_id, order_by=newest).label("place")
    ranked = (
        select(each.c.tag_id, each.c.completion_id, place)
        .join(theirs, same)
        .where(tx.in_list(each.c.tag_id, tag_ids))
        .subquery()
    )
    wanted = (
        select(ranked.c.tag_id, ranked.c.completion_id)
        .where(ranked.c.place <= limit)
        .order_by(ranked.c.tag_id, ranked.c.place)
    )
    found: dict[int, list[str]] = {}
    for tag_id, completion_id in tx.connection.execute(wanted):
        found.setdefault(tag_id, []).append(completion_id)
    return found


_ONE_BY_ONE = 8
_COUNTED = 1001


def _driven(tx: Tx, tag_ids: Sequence[int]) -> tuple[FromClause, Select[Any], list[int]]:
    """Where to begin: the rows of one tag or of two, and the tags that are still to be looked for.

    Of many tags the first few are enough to choose from. A tag that isn't common, or common only since this was
    asked, is right to begin from, whatever the others are.
    """
    ids = list(dict.fromkeys(tag_ids))
    first_few = ids[:_ONE_BY_ONE]
    rare = sorted(set(first_few) - _common_among(tx, first_few)) if len(ids) > 1 else ids
    if not rare:
        pairs = list(combinations(sorted(first_few), 2))
        first, second = _rarest(tx, _COUNT_OF_PAIR, [{"first": one, "second": other} for one, other in pairs]).values()
        of_pair = _of_pair(tx, first, second)
        return of_pair, select(of_pair), [id for id in ids if id not in (first, second)]
    (driver,) = _rarest(tx, _COUNT_OF_TAG, [{"tag_id": id} for id in rare]).values()
    found = tx.rows(completion_tag).where(completion_tag.c.tag_id == driver)
    return completion_tag, found, [id for id in ids if id != driver]


def _of_pair(tx: Tx, first: int, second: int) -> FromClause:
    pair, crowded = completion_tag_pair, completion_tag_pair.alias("crowded")
    too = completion_tag.alias("second_too")
    columns = ("organization_id", "completion_id", "created_at")
    own = tx.rows(pair, *columns).where(pair.c.first_tag_id == first, pair.c.second_tag_id == second)
    of_crowd = select(*(crowded.c[name] for name in columns)).where(
        crowded.c.organization_id == tx.organization_id,
        crowded.c.first_tag_id == first,
        crowded.c.second_tag_id == NO_SECOND_TAG,
        _how_many_of(crowded, too, too.c.tag_id == second) == 1,
    )
    # Postgres merges two ranges in their order only where each is said to have that order.
    ordered = (
        each.order_by(table.c.created_at.desc(), table.c.completion_id.desc()).subquery()
        for each, table in ((own, pair), (of_crowd, crowded))
    )
    return union_all(*(select(each) for each in ordered)).subquery("of_pair")


def search_tags(tx: Tx, query: str, limit: int) -> list[TagRow]:
    """Tags whose name contains `query`, ignoring case: the exact name first, then the shortest."""
    found = tx.rows(tag).where(tag.c.name.icontains(query, autoescape=True))
    closest = found.order_by(
        case((tag.c.name == query, 0), else_=1), func.length(tag.c.name), tag.c.name, tag.c.id
    ).limit(limit)
    return [TagRow(*row) for row in tx.connection.execute(closest)]


def list_recently_used_tags(tx: Tx, limit: int) -> list[TagRow]:
    """Tags by the newest completion that has them, the newest first; then those that none has."""
    used_at = (
        tx.rows(completion_tag, "created_at")
        .where(completion_tag.c.tag_id == tag.c.id)
        .order_by(completion_tag.c.created_at.desc())
        .limit(1)
        .correlate(tag)
        .scalar_subquery()
    )
    newest = tx.rows(tag).order_by(func.coalesce(used_at, 0).desc(), tag.c.id.desc()).limit(limit)
    return [TagRow(*row) for row in tx.connection.execute(newest)]


def _how_many_of(by: FromClause, too: Any, which: ColumnElement[bool]) -> ScalarSelect[int]:
    """How many of these tags the completion of a row of `by` has."""
    its = (too.c.organization_id == by.c.organization_id) & (too.c.completion_id == by.c.completion_id)
    return select(func.count()).select_from(too).where(its, which).correlate(by).scalar_subquery()


def _common_among(tx: Tx, tag_ids: Sequence[int]) -> set[int]:
    return {id for (id,) in tx.fetch(_COMMON_AMONG, ids=list(tag_ids))}


def _rarest(tx: Tx, count: Statement, choices: Sequence[dict[str, int]]) -> dict[str, int]:
    """That of `choices`, parameters of `count`, of which there is the least; a lone one isn't counted."""
    if len(choices) == 1:
        return choices[0]
    return min(choices, key=lambda choice: int(tx.fetch(count, **choice)[0][0]))


def _pairs(
    rows: Iterable[CompletionTagRow], common: Collection[int], max_tags_for_pairs: int
) -> Iterator[CompletionTagPairRow]:
    """What is kept of completions with these tags: `rows` hold all tags of each."""
    if not common:
        return
    by_completion: dict[str, list[CompletionTagRow]] = {}
    for row in rows:
        by_completion.setdefault(row.completion_id, []).append(row)
    for id, tags in by_completion.items():
        owner, at = tags[0].organization_id, tags[0].created_at
        its_common = sorted([row.tag_id for row in tags if row.tag_id in common])
        both: Iterable[tuple[int, int]] = (
            product(its_common, [NO_SECOND_TAG]) if len(tags) > max_tags_for_pairs else combinations(its_common, 2)
        )
        for first, second in both:
            yield CompletionTagPairRow(owner, first, second, at, id)


def _mark_common(tx: Tx, rows: Sequence[CompletionTagRow], common: Collection[int]) -> None:
    """Mark the tags that have become common with these rows, or before.

    A count for each row would cost too much, and it is not urgent: a few completions are looked at, chosen by their
    ids. Which tags are marked, and when, changes what a question costs and never what it finds.
    """
    some = tx.thresholds.common_tags.sample_one_in
    unmarked = {
        row.tag_id for row in rows if row.tag_id not in common and zlib.crc32(row.completion_id.encode()) % some == 0
    }
    if not unmarked:
        return
    for (tag_id,) in tx.fetch(_MANY, ids=sorted(unmarked), above=tx.thresholds.common_tags.min_completions):
        _make_common(tx, tag_id)


_AT_ONCE = 200  # completions, each with a few tags


def _make_common(tx: Tx, tag_id: int) -> None:
    """Mark the tag, and keep its pairs with the other common tags. It is on little more than `CommonTags.min_completions`."""
    max_tags_for_pairs = tx.thresholds.common_tags.max_tags_for_pairs
    tx.run(_MARK, tag_id=tag_id)
    its = [CompletionTagRow(tx.organization_id, id, tag_id, at) for id, at in tx.fetch(_ITS, tag_id=tag_id)]
    crowded = {
        id
        for (id,) in tx.fetch(_CROWDED, ids=[row.completion_id for row in its], max_tags_for_pairs=max_tags_for_pairs)
    }
    kept = [
        CompletionTagPairRow(tx.organization_id, tag_id, NO_SECOND_TAG, row.created_at, row.completion_id)
        for row in its
        if row.completion_id in crowded
    ]
    few = [row.completion_id for row in its if row.completion_id not in crowded]
    for start in range(0, len(few), _AT_ONCE):
        tags = _tags_of(tx, few[start : start + _AT_ONCE])
        kept += [
            pair for pair in _pairs(*tags, max_tags_for_pairs) if tag_id in (pair.first_tag_id, pair.second_tag_id)
        ]
    tx.insert_many(completion_tag_pair, sorted(kept))


def _tags_of(tx: Tx, completion_ids: Sequence[str]) -> tuple[list[CompletionTagRow], set[int]]:
    """All tags of these completions, and which of them are common."""
    found = tx.fetch(_TAGS_OF, ids=list(completion_ids))
    rows = [CompletionTagRow(tx.organization_id, id, tag_id, at) for id, tag_id, at, _ in found]
    return rows, {tag_id for _, tag_id, _, is_common in found if is_common}


def _of_some(query: QueryBuilder, *columns: str) -> Select[Any]:
    return query.rows(completion_tag, *columns).where(query.in_list(completion_tag.c.completion_id, "ids"))


def _count_of(query: QueryBuilder, table: Table, **parameters: str) -> Select[Any]:
    """How many rows have these parameters in these columns, counted up to a bound."""
    some = query.rows(table, "organization_id").where(
        *(table.c[column] == bindparam(name, type_=BigInteger()) for column, name in parameters.items())
    )
    return select(func.count()).select_from(some.limit(literal_column(str(_COUNTED))).subquery())


def _many(query: QueryBuilder) -> Select[Any]:
    above = (
        query.rows(completion_tag, "tag_id")
        .where(completion_tag.c.tag_id == tag.c.id)
        .limit(1)
        .offset(bindparam("above", type_=BigInteger()))
        .correlate(tag)
        .scalar_subquery()
    )
    return query.rows_by_key(query.rows(tag, "id").where(above.is_not(None)), tag.c.id, "ids")


_its_tag = (tag.c.organization_id == completion_tag.c.organization_id) & (tag.c.id == completion_tag.c.tag_id)

_HAVING = Statement(
    lambda query: (
        query.rows(completion_tag, "tag_id", "completion_id")
        .where(completion_tag.c.tag_id == query.each_value("tag_id", BigInteger()))
        .order_by(completion_tag.c.created_at.desc(), completion_tag.c.completion_id.desc())
        .limit(bindparam("limit", type_=BigInteger()))
    )
)
_COMMON_AMONG = Statement(
    lambda query: query.rows_by_key(query.rows(tag, "id").where(tag.c.is_common), tag.c.id, "ids")
)
_COUNT_OF_TAG = Statement(lambda query: _count_of(query, completion_tag, tag_id="tag_id"))
_COUNT_OF_PAIR = Statement(
    lambda query: _count_of(query, completion_tag_pair, first_tag_id="first", second_tag_id="second")
)
_TAGS_OF = Statement(
    lambda query: query.rows_by_key(
        query.rows(completion_tag, "completion_id", "tag_id", "created_at")
        .join(tag, _its_tag)
        .add_columns(tag.c.is_common),
        completion_tag.c.completion_id,
        "ids",
    )
)
_MANY = Statement(_many)
_MARK = Statement(
    lambda query: (
        update(tag)
        .where(query.is_owned(tag), tag.c.id == bindparam("tag_id", type_=BigInteger()))
        .values(is_common=true())
    )
)
_ITS = Statement(
    lambda query: query.rows(completion_tag, "completion_id", "created_at").where(
        completion_tag.c.tag_id == bindparam("tag_id", type_=BigInteger())
    )
)
_CROWDED = Statement(
    lambda query: (
        _of_some(query, "completion_id")
        .group_by(completion_tag.c.completion_id)
        .having(func.count() > bindparam("max_tags_for_pairs", type_=BigInteger()))
    )
)
