"""The table of tags. Each name has a short numeric key, so that no index has to contain the name itself."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Boolean, Column, Select, Text, false, literal_column

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.schema import Digest, Instant, check_columns, ordered_index, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx

tag = owned_table(
    "tag",
    ("id",),
    Column("id", BigInteger, autoincrement=False),
    Column("name_digest", Digest, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("is_common", Boolean, nullable=False, server_default=false()),
)
ordered_index(tag, "name_digest", unique=True)

# The names of the tags with keys up to `last_tag_id`, for the search (`store/tag_search`).
tag_name_block = owned_table(
    "tag_name_block",
    ("last_tag_id",),
    Column("last_tag_id", BigInteger, autoincrement=False),
    Column("names", Text, nullable=False),
    Column("tag_ids", Text, nullable=False),
)


class TagRow(NamedTuple):
    """A tag.

    Once `is_common` is set it is never reset, because pairs of tags are stored then (`store/completion_tags`).
    """

    organization_id: str
    id: int
    name_digest: str
    name: str
    created_at: int
    is_common: bool


check_columns(TagRow, tag)

_KEYS = Statement(lambda query: query.rows_by_key(query.rows(tag, "name_digest", "id"), tag.c.name_digest, "digests"))
_NAMES = Statement(lambda query: query.rows_by_key(query.rows(tag, "id", "name"), tag.c.id, "ids"))


def find_keys(tx: Tx, names: Iterable[str]) -> dict[str, int]:
    """The keys of those names that exist as tags, by name."""
    by_digest = digests(names)
    rows = tx.fetch(_KEYS, digests=sorted(by_digest)) if by_digest else []
    return {by_digest[digest]: tag_id for digest, tag_id in rows}


def find_names(tx: Tx, tag_ids: Iterable[int]) -> dict[int, str]:
    """The names of these tags, by key."""
    return dict(tx.fetch(_NAMES, ids=sorted(tag_ids)))


def ensure(tx: Tx, names: Iterable[str]) -> dict[str, int]:
    """The keys of all `names`, by name. Missing tags are created."""
    distinct = set(names)
    after = next((key for (key,) in tx.fetch(_NEWEST_BLOCK)), 0)
    return add_missing(tx, distinct, find_keys(tx, distinct), after)


def add_missing(tx: Tx, names: Iterable[str], known: Mapping[str, int], newest_block_key: int) -> dict[str, int]:
    """The same as `ensure`, when the caller has looked up the tags that exist: `known` has their keys.

    A new key is about the time of creation in microseconds, and always greater than `newest_block_key`, because a
    search takes the tags with greater keys for those that are in no block yet. A process whose clock is late therefore
    continues after that key. If another process has created a tag with the same key, the database refuses the row, and
    the write runs again (`db/retries`).
    """
    missing = sorted(digests(set(names) - known.keys()).items())
    rows = [
        TagRow(tx.organization_id, tx.new_key(newest_block_key), digest, name, tx.now(), False)
        for digest, name in missing
    ]
    tx.insert_many(tag, rows)
    return {**known, **{row.name: row.id for row in rows}}


def newest_block(query: QueryBuilder) -> Select[Any]:
    """A query for the greatest key of a tag that is in a block. Without blocks it has no row."""
    newest_first = query.rows(tag_name_block, "last_tag_id").order_by(tag_name_block.c.last_tag_id.desc())
    return newest_first.limit(literal_column("1"))


_NEWEST_BLOCK = Statement(newest_block)


def digests(names: Iterable[str]) -> dict[str, str]:
    """Maps the digest of each name to the name. Tags are looked up by digest."""
    return {sha256(name.encode()).hexdigest(): name for name in names}
