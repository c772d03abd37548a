"""The parts that all tables share: naming of constraints, column types, and the column of the owning organization."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.schema import SchemaItem

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# Keys sort by code point on both databases. That is the default of SQLite; Postgres needs the collation "C".
Key = Text().with_variant(Text(collation="C"), "postgresql")
# JSON is stored as the text that was sent, because jsonb reorders keys, changes how numbers are written and refuses
# \u0000.
Payload = Text()
# Microseconds since 1970 in UTC, see `clock`.
Instant = BigInteger
# SHA-256 in hexadecimal.
Digest = Key


def owned_table(name: str, key: tuple[str, ...], *items: SchemaItem, links_only: bool = False) -> Table:
    """A table whose rows belong to an organization: `organization_id` comes first in its primary key, before `key`.

    With `links_only` the table only links rows of other tables. SQLite then stores it without a rowid, inside the index
    of the primary key. It has no foreign key to the organization, because the linked rows have one.
    """
    return Table(
        name,
        metadata,
        Column("organization_id", Key, *([] if links_only else [ForeignKey("organization.id")]), nullable=False),
        *items,
        PrimaryKeyConstraint("organization_id", *key),
        sqlite_with_rowid=not links_only,
    )


def foreign_key(column: str, table: str) -> ForeignKeyConstraint:
    """A foreign key to an owned row of the same organization, so no row can refer to another organization's row."""
    return ForeignKeyConstraint(["organization_id", column], [f"{table}.organization_id", f"{table}.id"])


def ordered_index(
    table: Table, *columns: str, unique: bool = False, only: ColumnElement[bool] | None = None, part: str | None = None
) -> Index:
    """An index of an owned table on the organization and then `columns`. Newest-first lists read it backwards.

    With `only` it is a partial index, which holds just the rows that meet that condition. If there are several indexes
    on the same columns, the name `part` for these rows tells them apart.
    """
    name = "_".join(["ix", table.name, *([part] if part else []), *columns])
    indexed = [table.c.organization_id, *(table.c[column] for column in columns)]
    return Index(name, *indexed, unique=unique, sqlite_where=only, postgresql_where=only)


def check_columns(row: Any, table: Table) -> None:
    """Raise TypeError, at import, if the fields of a row type are not the columns of its table."""
    if tuple(table.columns.keys()) != row._fields:
        raise TypeError(f"{row.__name__} and the table {table.name} differ")
