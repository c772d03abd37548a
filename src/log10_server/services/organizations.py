"""Organizations and tokens: who may call, and whose data a call reaches (docs/api.md, "Tokens and organizations").

Only a digest of a token is stored, so its value is shown once and can't be read back.
"""

import secrets
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import Connection

from log10_server.clock import Clock, uuid7
from log10_server.errors import Conflict, Invalid, NotFound
from log10_server.store import organizations as store
from log10_server.store.organizations import OrganizationRow, TokenRow

_LEAST_TOKEN = 8
_MOST_NAME_BYTES = 255


class Issued(NamedTuple):
    """A new token with its value, which nobody can read again."""

    row: TokenRow
    value: str


def create(connection: Connection, clock: Clock, id: str | None = None, slug: str | None = None) -> OrganizationRow:
    """Make an organization; without an id it gets one, without a slug its id serves as one.

    Raises Invalid for a name that can't be one, Conflict for one that is taken.
    """
    at = clock.now()
    row = OrganizationRow(id or uuid7(at), slug or id or f"organization-{at}", at)
    for option, name in (("id", row.id), ("slug", row.slug)):
        if not _is_name(name):
            raise Invalid.at(f"/{option}", f"{name!r} can't be the {option} of an organization.")
        if store.find(connection, name) is not None:
            raise Conflict(f"There is an organization {name!r} already.")
    store.add(connection, row)
    return row


def first(connection: Connection, clock: Clock, id: str | None, token: str | None) -> Issued | None:
    """Make an organization and its token in a database that has none; None when there is one already."""
    if next(store.every(connection), None) is not None:
        return None
    return issue_token(connection, clock, create(connection, clock, id, "default").id, token)


def get(connection: Connection, id_or_slug: str) -> OrganizationRow:
    """Raises NotFound."""
    row = store.find(connection, id_or_slug)
    if row is None:
        raise NotFound(f"There is no organization {id_or_slug!r}.")
    return row


def issue_token(connection: Connection, clock: Clock, organization_id: str, value: str | None = None) -> Issued:
    """Make a token of the organization; `value` keeps the one that programs have already.

    Raises Invalid for a value that can't travel in a header, Conflict for one that was issued before.
    """
    if value is None:
        value = secrets.token_urlsafe(32)
    elif len(value) < _LEAST_TOKEN or not (value.isascii() and value.isprintable()) or value != value.strip():
        raise Invalid.at("/value", f"A token has at least {_LEAST_TOKEN} printable ASCII characters.")
    if store.find_token(connection, digest(value)) is not None:
        raise Conflict("This token was issued before.")
    at = clock.now()
    row = TokenRow(organization_id, uuid7(at), digest(value), at, None)
    store.add_token(connection, row)
    return Issued(row, value)


def revoke_token(connection: Connection, clock: Clock, token_id: str) -> None:
    """Raises NotFound when there is no such token that is still good."""
    if not store.revoke_token(connection, token_id, clock.now()):
        raise NotFound(f"There is no token {token_id!r} to revoke.")


def reached_by(connection: Connection, token: str) -> OrganizationRow | None:
    """The organization whose token this is; None for a token that is unknown or revoked."""
    return store.reached_by(connection, digest(token))


def digest(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _is_name(name: str) -> bool:
    """Something that can stand in a header, a path and a query as it is, and names something (docs/api.md, "Tokens and organizations")."""
    return (
        0 < len(name.encode("utf-8", "replace")) <= _MOST_NAME_BYTES
        and name.isascii()
        and name.isprintable()
        and not any(character in ' /,?#\\\\"' for character in name)
        and name not in {".", "..", "None"}
    )
