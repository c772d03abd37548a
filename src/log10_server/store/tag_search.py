"""Blocks of the names of tags, and the statements that search them or list tags by their last use.

Looking for a part of a name in the table of tags would read every row. So a background job copies the names, about 2000
at a time, into the rows of `tag_name_block`, and a search reads those: a few hundred rows for a million tags. The tags
with greater keys than the newest block are not in a block yet, and a search reads them one by one.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Select, Text, bindparam, func, literal_column, select

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.schema import check_columns
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.store.completion_tags import completion_tag
from log10_server.store.completions import completion
from log10_server.store.tags import TagRow, newest_block, tag, tag_name_block


class TagNameBlockRow(NamedTuple):
    """The names of the tags whose keys follow those of the block before, up to `last_tag_id`.

    `names` has the names as they are compared, sorted and joined by the separator of `services/tags`. `tag_ids` has
    their keys in the same order, with DIGITS_OF_KEY hexadecimal digits each. A block never changes.
    """

    organization_id: str
    last_tag_id: int
    names: str
    tag_ids: str


check_columns(TagNameBlockRow, tag_name_block)

DIGITS_OF_KEY = 16
_BLOCKS_AT_ONCE = 64
_TAGS_AT_ONCE = 250  # with the longest names these are 2 MB


def add_block(tx: Tx, names: str, tag_ids: Sequence[int]) -> None:
    """Insert the next block. `tag_ids` are the keys of the tags in the order of their names."""
    digits = "".join(f"{tag_id:0{DIGITS_OF_KEY}x}" for tag_id in tag_ids)
    tx.insert_many(tag_name_block, [TagNameBlockRow(tx.organization_id, max(tag_ids), names, digits)])


def iterate_containing(tx: Tx, text: str, last_tag_id: int) -> Iterator[tuple[int, str]]:
    """The keys and the names of the blocks up to `last_tag_id` whose names contain `text`, a few at a time."""
    after = 0
    while rows := tx.fetch(_CONTAINING, text=text, after=after, last_tag_id=last_tag_id):
        tx.check_deadline()
        yield from rows
        if len(rows) < _BLOCKS_AT_ONCE:
            return
        after = rows[-1][0]


def find_tag_ids(tx: Tx, places: Iterable[tuple[int, int]]) -> list[int]:
    """The keys of the tags at these places: the key of a block, and the position of the name in it, from 0."""
    places = list(places)
    digits = dict(tx.fetch(_TAG_IDS, ids=sorted({block for block, _ in places}))) if places else {}
    starts = ((block, position * DIGITS_OF_KEY) for block, position in places)
    return [int(digits[block][start : start + DIGITS_OF_KEY], 16) for block, start in starts]


def newest_block_key(tx: Tx) -> int:
    """The greatest key of a tag that is in a block; 0 if there is no block."""
    return next((key for (key,) in tx.fetch(_NEWEST_BLOCK)), 0)


def iterate_after(tx: Tx, tag_id: int) -> Iterator[tuple[int, str]]:
    """The keys and the names of the tags with greater keys than `tag_id`, in the order of the keys."""
    while rows := tx.fetch(_AFTER, after=tag_id):
        tx.check_deadline()
        yield from rows
        if len(rows) < _TAGS_AT_ONCE:
            return
        tag_id = rows[-1][0]


def count_next(tx: Tx, limit: int) -> tuple[int, int]:
    """How many tags are in no block yet, up to `limit`, and how many characters their names have together."""
    [(tags, characters)] = tx.fetch(_COUNT_NEXT, after=newest_block_key(tx), limit=limit)
    return int(tags), int(characters)


def find_many(tx: Tx, tag_ids: Sequence[int]) -> dict[int, TagRow]:
    """The tags with these keys, by key."""
    return {row.id: row for row in map(TagRow._make, tx.fetch(_BY_ID, ids=list(tag_ids)))} if tag_ids else {}


def list_recently_used(tx: Tx, completions: int, links: int) -> list[int]:
    """The keys of the tags of the newest completions, the tags of the newest one first, each once.

    At most this many completions and links from them to tags are read.
    """
    newest = (
        tx.rows(completion, "organization_id", "id", "created_at")
        .order_by(completion.c.created_at.desc(), completion.c.id.desc())
        .limit(completions)
        .subquery()
    )
    is_same = (completion_tag.c.organization_id == newest.c.organization_id) & (
        completion_tag.c.completion_id == newest.c.id
    )
    tags = (
        select(completion_tag.c.tag_id)
        .select_from(newest.join(completion_tag, is_same))
        .where(completion_tag.c.organization_id == tx.organization_id)
        .order_by(newest.c.created_at.desc(), newest.c.id.desc(), completion_tag.c.tag_id.desc())
        .limit(links)
    )
    return list(dict.fromkeys(tx.connection.scalars(tags)))


def list_newest(tx: Tx, limit: int) -> list[int]:
    """The keys of the tags that were created last, newest first."""
    return list(tx.connection.scalars(tx.rows(tag, "id").order_by(tag.c.id.desc()).limit(limit)))


_CONTAINING = Statement(
    lambda query: (
        query.rows(tag_name_block, "last_tag_id", "names")
        .where(
            tag_name_block.c.last_tag_id > bindparam("after", type_=BigInteger()),
            tag_name_block.c.last_tag_id <= bindparam("last_tag_id", type_=BigInteger()),
            query.position_in(tag_name_block.c.names, bindparam("text", type_=Text())) > literal_column("0"),
        )
        .order_by(tag_name_block.c.last_tag_id)
        .limit(literal_column(str(_BLOCKS_AT_ONCE)))
    )
)
_TAG_IDS = Statement(
    lambda query: query.rows_by_key(
        query.rows(tag_name_block, "last_tag_id", "tag_ids"), tag_name_block.c.last_tag_id, "ids"
    )
)
_NEWEST_BLOCK = Statement(newest_block)
_AFTER = Statement(
    lambda query: (
        query.rows(tag, "id", "name")
        .where(tag.c.id > bindparam("after", type_=BigInteger()))
        .order_by(tag.c.id)
        .limit(literal_column(str(_TAGS_AT_ONCE)))
    )
)


def _count_next(query: QueryBuilder) -> Select[Any]:
    next_tags = (
        query.rows(tag, "name")
        .where(tag.c.id > bindparam("after", type_=BigInteger()))
        .order_by(tag.c.id)
        .limit(bindparam("limit", type_=BigInteger()))
        .subquery()
    )
    return select(func.count(), func.coalesce(func.sum(func.length(next_tags.c.name)), literal_column("0")))


_COUNT_NEXT = Statement(_count_next)
_BY_ID = Statement(lambda query: query.rows_by_key(query.rows(tag), tag.c.id, "ids"))
