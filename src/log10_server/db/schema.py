"""What all tables share: names of constraints, types of columns, and the organization that owns the rows."""

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

# Keys sort by code point on both databases; SQLite does so by itself.
Key = Text().with_variant(Text(collation="C"), "postgresql")
# JSON as the text that came: jsonb reorders keys, respells numbers and refuses \u0000.
Payload = Text()
# Microseconds since 1970 in UTC, see `clock`.
Instant = BigInteger
# SHA-256 in hexadecimal.
Digest = Key


def owned_table(name: str, key: tuple[str, ...], *items: SchemaItem, links_only: bool = False) -> Table:
    """A table whose rows belong to an organization: `organization_id` comes first in its primary key, before `key`.

    `links_only` tables are nothing but keys: SQLite stores them once, inside the index of the primary key, and what
    they link belongs to the organization already.
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
    """A reference to an owned row of the same organization; the database refuses one across organizations."""
    return ForeignKeyConstraint(["organization_id", column], [f"{table}.organization_id", f"{table}.id"])


def ordered_index(table: Table, *columns: str, unique: bool = False, only: ColumnElement[bool] | None = None) -> Index:
    """An index of an owned table, the organization first. Newest-first lists read it backwards.

    With `only` it is a partial index, of the rows for which that is true.
    """
    name = f"ix_{table.name}_{'_'.join(columns)}"
    indexed = [table.c.organization_id, *(table.c[column] for column in columns)]
    return Index(name, *indexed, unique=unique, sqlite_where=only, postgresql_where=only)


def check_columns(row: Any, table: Table) -> None:
    """Fail at import when a row type and its table have drifted apart."""
    if tuple(table.columns.keys()) != row._fields:
        raise TypeError(f"{row.__name__} and the table {table.name} differ")
