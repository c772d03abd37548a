"""Tags: a row and a short key for each name, so that no index has to hold the name itself."""

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import BigInteger, Column, Text

from log10_server.store.base import Digest, Instant, order, owned, same_columns
from log10_server.store.database import Tx
from log10_server.store.statements import Statement

tag = owned(
    "tag",
    ("id",),
    Column("id", BigInteger, autoincrement=False),
    Column("name_digest", Digest, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
)
order(tag, "name_digest", unique=True)


class TagRow(NamedTuple):
    organization_id: str
    id: int
    name_digest: str
    name: str
    created_at: int


same_columns(TagRow, tag)

_KNOWN = Statement(lambda asked: asked.rows(tag, "name_digest", "id").where(asked.among(tag.c.name_digest, "digests")))


def known(tx: Tx, names: Iterable[str]) -> dict[str, int]:
    """The keys of those names that are tags already."""
    digests = {sha256(name.encode()).hexdigest(): name for name in names}
    if not digests:
        return {}
    return {digests[digest]: id for digest, id in tx.fetch(_KNOWN, digests=sorted(digests))}


def ensure(tx: Tx, names: Iterable[str]) -> dict[str, int]:
    """The keys of all `names`; those that are not tags yet become tags."""
    wanted = set(names)
    keys = known(tx, wanted)
    # The key is the microsecond of birth. Another process's clock may have given the same one: then once more.
    while missing := sorted(wanted - keys.keys()):
        rows = [
            TagRow(tx.organization_id, at := tx.now(), sha256(name.encode()).hexdigest(), name, at) for name in missing
        ]
        tx.insert_missing(tag, rows)
        keys |= known(tx, missing)
    return keys
