"""Tags: a row and a short key for each name, so that no index has to hold the name itself."""

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import BigInteger, Boolean, Column, Text, false

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
    Column("is_common", Boolean, nullable=False, server_default=false()),
)
order(tag, "name_digest", unique=True)


class TagRow(NamedTuple):
    """`is_common` stays once it is set: pairs of tags are kept for it, see `store/tagged`."""

    organization_id: str
    id: int
    name_digest: str
    name: str
    created_at: int
    is_common: bool


same_columns(TagRow, tag)

_KNOWN = Statement(
    lambda asked: asked.rows(tag, "name_digest", "id", "is_common").where(asked.among(tag.c.name_digest, "digests"))
)


class Keys(NamedTuple):
    """The keys of some tags by their names, and which of them are common."""

    of: dict[str, int]
    common: set[int]


def known(tx: Tx, names: Iterable[str]) -> dict[str, int]:
    """The keys of those names that are tags already."""
    return _known(tx, names).of


def ensure(tx: Tx, names: Iterable[str]) -> Keys:
    """The keys of all `names`; those that are not tags yet become tags."""
    wanted = set(names)
    keys = _known(tx, wanted)
    # The key is the microsecond of birth. Another process's clock may have given the same one: then once more.
    while missing := sorted(wanted - keys.of.keys()):
        rows = [
            TagRow(tx.organization_id, at := tx.now(), sha256(name.encode()).hexdigest(), name, at, False)
            for name in missing
        ]
        tx.insert_missing(tag, rows)
        keys = Keys(keys.of | known(tx, missing), keys.common)
    return keys


def _known(tx: Tx, names: Iterable[str]) -> Keys:
    digests = {sha256(name.encode()).hexdigest(): name for name in names}
    if not digests:
        return Keys({}, set())
    found = tx.fetch(_KNOWN, digests=sorted(digests))
    return Keys({digests[digest]: id for digest, id, _ in found}, {id for _, id, is_common in found if is_common})
