"""The tables of organizations and of their access tokens.

These functions take a connection and not a `Tx`, because they run before the organization of a call is known.
"""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Column, Connection, ForeignKey, Index, PrimaryKeyConstraint, Table, insert, select, update

from log10_server.db.schema import Digest, Instant, Key, check_columns, metadata

organization = Table(
    "organization",
    metadata,
    Column("id", Key, primary_key=True),
    Column("slug", Key, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
)
token = Table(
    "token",
    metadata,
    Column("organization_id", Key, ForeignKey("organization.id"), nullable=False),
    Column("id", Key, nullable=False),
    Column("digest", Digest, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("name", Key),
    PrimaryKeyConstraint("organization_id", "id"),
)
Index(None, token.c.digest, unique=True)
Index(None, token.c.id, unique=True)
_has_name = token.c.revoked_at.is_(None) & token.c.name.is_not(None)
Index(None, token.c.organization_id, token.c.name, unique=True, sqlite_where=_has_name, postgresql_where=_has_name)


class OrganizationRow(NamedTuple):
    """An organization; `slug` is its readable name, unique as well."""

    id: str
    slug: str
    created_at: int


class TokenRow(NamedTuple):
    """A token.

    Its value is not stored, only a digest of it. Unrevoked tokens of an organization have different names.
    """

    organization_id: str
    id: str
    digest: str
    created_at: int
    revoked_at: int | None
    name: str | None = None


check_columns(OrganizationRow, organization)
check_columns(TokenRow, token)


def add(connection: Connection, row: OrganizationRow) -> None:
    """Insert a new organization."""
    connection.execute(insert(organization).values(row._asdict()))


def find(connection: Connection, id_or_slug: str) -> OrganizationRow | None:
    """The organization with this id or slug, or None.

    Ids are searched before slugs, so that the slug of one organization can't hide the id of another.
    """
    for column in (organization.c.id, organization.c.slug):
        row = connection.execute(select(organization).where(column == id_or_slug)).first()
        if row is not None:
            return OrganizationRow(*row)
    return None


def list_all(connection: Connection) -> list[OrganizationRow]:
    """All organizations, oldest first."""
    oldest_first = select(organization).order_by(organization.c.created_at, organization.c.id)
    return [OrganizationRow(*row) for row in connection.execute(oldest_first)]


def add_token(connection: Connection, row: TokenRow) -> None:
    """Insert a new token."""
    connection.execute(insert(token).values(row._asdict()))


def find_token(connection: Connection, digest: str) -> TokenRow | None:
    """The token with this digest, or None. It may be revoked."""
    row = connection.execute(select(token).where(token.c.digest == digest)).first()
    return TokenRow(*row) if row is not None else None


def list_tokens(connection: Connection, organization_id: str) -> list[TokenRow]:
    """The tokens of an organization, oldest first."""
    tokens = select(token).where(token.c.organization_id == organization_id)
    return [TokenRow(*row) for row in connection.execute(tokens.order_by(token.c.created_at, token.c.id))]


def revoke_token(connection: Connection, token_id: str, at: int) -> bool:
    """Revoke a token at the instant `at`. Returns False if there is no such token, or it was revoked before."""
    is_still_good = (token.c.id == token_id) & token.c.revoked_at.is_(None)
    return connection.execute(update(token).where(is_still_good).values(revoked_at=at)).rowcount > 0


_owner = (
    select(organization, token.c.digest, token.c.id, token.c.name)
    .join(token, token.c.organization_id == organization.c.id)
    .where(token.c.revoked_at.is_(None))
)


def find_owners(connection: Connection, digests: Collection[str]) -> list[tuple[str, OrganizationRow, str, str | None]]:
    """The digest, the organization, the id and the name of each token with one of these digests.

    Tokens that are unknown or revoked are left out.
    """
    rows = connection.execute(_owner.where(token.c.digest.in_(digests)))
    return [(row[-3], OrganizationRow(*row[:-3]), row[-2], row[-1]) for row in rows]


def has_token_named(connection: Connection, organization_id: str, name: str) -> bool:
    """Whether the organization has a token with this name that is not revoked."""
    has_name = (token.c.organization_id == organization_id) & (token.c.name == name) & token.c.revoked_at.is_(None)
    return connection.execute(select(token.c.id).where(has_name)).first() is not None
