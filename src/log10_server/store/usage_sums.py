"""The sums of the usage: for each list of completions and each period, the sums by model and status.

A list is that of all completions (ALL_COMPLETIONS) or that of a common tag. A period is a day, 8 days or 64 days; it
begins at a multiple of its length since 1970. So a year is the sum of some twenty periods, not of 365 days.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Column, Select, bindparam

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.schema import Payload, check_columns, ordered_index, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.store.covered import ALL_COMPLETIONS

PERIODS = (64, 8, 1)  # their lengths in days; each is a multiple of the next

usage_sum = owned_table(
    "usage_sum",
    ("tag_id", "days", "first_day"),
    Column("tag_id", BigInteger, nullable=False, autoincrement=False),
    Column("days", BigInteger, nullable=False, autoincrement=False),
    Column("first_day", BigInteger, nullable=False, autoincrement=False),
    Column("sums", Payload, nullable=False),
)
ordered_index(usage_sum, "days", "first_day")


class UsageSumRow(NamedTuple):
    """The sums of one list in one period, as JSON (`services/usage_sums`). `first_day` is in days since 1970."""

    organization_id: str
    tag_id: int
    days: int
    first_day: int
    sums: str


class SumKey(NamedTuple):
    """A list and a period: the key of a row."""

    tag_id: int
    days: int
    first_day: int


class PeriodRange(NamedTuple):
    """Successive periods of one length: the first days from `begin` on, and before `end`."""

    days: int
    begin: int
    end: int


check_columns(UsageSumRow, usage_sum)


def find_many(tx: Tx, keys: Iterable[SumKey]) -> dict[SumKey, str]:
    """The sums with these keys. Keys without sums are left out."""
    rows = tx.fetch(_BY_KEY, keys=sorted(keys))
    return {SumKey(*row[:3]): row[3] for row in rows}


def overwrite(tx: Tx, sums: Iterable[tuple[SumKey, str]]) -> None:
    """Store sums, in place of those that are stored with the same keys."""
    tx.overwrite_many(usage_sum, [UsageSumRow(tx.organization_id, *key, text) for key, text in sorted(sums)])


def remove(tx: Tx, sums: Iterable[tuple[SumKey, str]]) -> None:
    """Remove these sums, which must be stored as they are here."""
    tx.remove_many(usage_sum, [UsageSumRow(tx.organization_id, *key, text) for key, text in sorted(sums)])


def list_of_list(tx: Tx, tag_id: int, ranges: Sequence[PeriodRange]) -> list[tuple[int, str]]:
    """The sums of one list in these periods, each with the first day of its period."""
    return [row for periods in ranges for row in tx.fetch(_OF_LIST, tag_id=tag_id, **periods._asdict())]


def iterate_of_tags(tx: Tx, ranges: Sequence[PeriodRange]) -> Iterator[tuple[int, str]]:
    """Yield the sums of all tags in these periods, each with the key of its tag. A snapshot must have begun.

    With ten thousand common tags the texts of all periods may have over half a gigabyte, so only some of them are in
    memory at a time.
    """
    for periods in ranges:
        yield from tx.iterate_in_chunks(_OF_TAGS, tx.thresholds.usage_sums_at_once, **periods._asdict())


def _in_range(query: QueryBuilder, *columns: str) -> Select[Any]:
    return query.rows(usage_sum, *columns).where(
        usage_sum.c.days == bindparam("days", type_=BigInteger()),
        usage_sum.c.first_day >= bindparam("begin", type_=BigInteger()),
        usage_sum.c.first_day < bindparam("end", type_=BigInteger()),
    )


_BY_KEY = Statement(
    lambda query: query.rows_by_keys(
        query.rows(usage_sum, "tag_id", "days", "first_day", "sums"),
        [usage_sum.c.tag_id, usage_sum.c.days, usage_sum.c.first_day],
        "keys",
    )
)
_OF_LIST = Statement(
    lambda query: _in_range(query, "first_day", "sums").where(
        usage_sum.c.tag_id == bindparam("tag_id", type_=BigInteger())
    )
)
_OF_TAGS = Statement(lambda query: _in_range(query, "tag_id", "sums").where(usage_sum.c.tag_id != ALL_COMPLETIONS))
