"""Tags: a row and a short key for each name, so that no index has to hold the name itself."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import BigInteger, Boolean, Column, Text, false

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


class TagRow(NamedTuple):
    """`is_common` stays once it is set: pairs of tags are kept for it, see `store/completion_tags`."""

    organization_id: str
    id: int
    name_digest: str
    name: str
    created_at: int
    is_common: bool


check_columns(TagRow, tag)

_KEYS = Statement(lambda query: query.rows_by_key(query.rows(tag, "name_digest", "id"), tag.c.name_digest, "digests"))


def find_keys(tx: Tx, names: Iterable[str]) -> dict[str, int]:
    """The keys of those names that are tags already."""
    by_digest = digests(names)
    rows = tx.fetch(_KEYS, digests=sorted(by_digest)) if by_digest else []
    return {by_digest[digest]: tag_id for digest, tag_id in rows}


def ensure(tx: Tx, names: Iterable[str]) -> dict[str, int]:
    """The keys of all `names`; those that are not tags yet become tags."""
    distinct = set(names)
    return add_missing(tx, distinct, find_keys(tx, distinct))


def add_missing(tx: Tx, names: Iterable[str], known: Mapping[str, int]) -> dict[str, int]:
    """The same as `ensure`, when the caller has looked up the tags that exist: `known` has their keys.

    A new key is about the microsecond at which the tag is made. When another process has made a tag with the same key,
    the database refuses it, and the write is done again (`db/retries`).
    """
    missing = sorted(digests(set(names) - known.keys()).items())
    rows = [TagRow(tx.organization_id, tx.new_key(), digest, name, tx.now(), False) for digest, name in missing]
    tx.insert_many(tag, rows)
    return {**known, **{row.name: row.id for row in rows}}


def digests(names: Iterable[str]) -> dict[str, str]:
    """The names by their digests, by which they are looked up."""
    return {sha256(name.encode()).hexdigest(): name for name in names}
