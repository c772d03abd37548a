"""Creates organizations, and issues, revokes and checks tokens (docs/api.md, "Tokens and organizations").

Only a digest of a token is stored, so the token is shown once and can't be read again.
"""

import secrets
from collections.abc import Collection
from hashlib import sha256
from typing import NamedTuple

from log10_server.clock import Clock, uuid7
from log10_server.db.database import Connection
from log10_server.errors import Conflict, Invalid, NotFound
from log10_server.runtime.context import Actor, Caller
from log10_server.store import organizations as store
from log10_server.store.organizations import OrganizationRow, TokenRow

# With this prefix secret scanners can recognise a token (docs/operations.md has the pattern). It also keeps a token
# from beginning with `-`, because a command line would take such a token for an option.
TOKEN_PREFIX = "log10_"
_RANDOM_TOKEN_BYTES = 32
_MIN_TOKEN_CHARACTERS = 8
_MAX_NAME_BYTES = 255


class IssuedToken(NamedTuple):
    """A new token with its value, which can't be read again later."""

    row: TokenRow
    value: str


def create(
    connection: Connection, clock: Clock, organization_id: str | None = None, slug: str | None = None
) -> OrganizationRow:
    """Create an organization. If no id is passed, one is generated; if no slug is passed, the slug is the id.

    Raises Invalid for an id or slug that is not allowed, and Conflict for one that is taken.
    """
    at = clock.now()
    row = OrganizationRow(organization_id or uuid7(at), slug or organization_id or f"organization-{at}", at)
    for option, name in (("id", row.id), ("slug", row.slug)):
        if not _is_name(name):
            raise Invalid.at(
                f"/{option}",
                f"{name!r} can't be the {option} of an organization: it must have 1 to {_MAX_NAME_BYTES} printable ASCII "
                'characters, without spaces and / , ? # \\ ", and is not one of the words `.`, `..` and `None`.',
            )
        if store.find(connection, name) is not None:
            raise Conflict(f"The organization {name!r} already exists.")
    store.add(connection, row)
    return row


def create_first(
    connection: Connection, clock: Clock, organization_id: str | None, token: str | None
) -> IssuedToken | None:
    """Create an organization and its token in a database that has no organization.

    Returns None if there is an organization already.
    """
    if store.list_all(connection):
        return None
    return issue_token(connection, clock, create(connection, clock, organization_id, "default").id, token)


def get(connection: Connection, id_or_slug: str) -> OrganizationRow:
    """Return the organization with this id or slug. Raises NotFound."""
    row = store.find(connection, id_or_slug)
    if row is None:
        raise NotFound(f"There is no organization {id_or_slug!r}.")
    return row


def issue_token(
    connection: Connection, clock: Clock, organization_id: str, value: str | None = None, name: str | None = None
) -> IssuedToken:
    """Issue a token for the organization. Pass `value` if programs use a token already and should keep it.

    Feedback that is uploaded with the token shows its `name` as the author, so no two valid tokens of an organization
    may have the same name. Raises Invalid if the value can't be sent in a header or the name is not allowed, and
    Conflict if the value was issued before or the name is taken.
    """
    if name is not None:
        if not _is_token_name(name):
            raise Invalid.at(
                "/name", f"A token's name must have 1 to {_MAX_NAME_BYTES} bytes and only printable characters."
            )
        if store.has_token_named(connection, organization_id, name):
            raise Conflict(f"The organization already has a valid token named {name!r}.")
    if value is None:
        value = TOKEN_PREFIX + secrets.token_urlsafe(_RANDOM_TOKEN_BYTES)
    elif len(value) < _MIN_TOKEN_CHARACTERS or not (value.isascii() and value.isprintable()) or value != value.strip():
        raise Invalid.at(
            "/value",
            f"A token must have at least {_MIN_TOKEN_CHARACTERS} printable ASCII characters, and no spaces around them.",
        )
    if store.find_token(connection, digest(value)) is not None:
        raise Conflict("This token was issued before.")
    at = clock.now()
    row = TokenRow(organization_id, uuid7(at), digest(value), at, None, name)
    store.add_token(connection, row)
    return IssuedToken(row, value)


def revoke_token(connection: Connection, clock: Clock, token_id: str) -> None:
    """Revoke a token. Raises NotFound if there is no such token, or if it was revoked before."""
    if not store.revoke_token(connection, token_id, clock.now()):
        raise NotFound(f"There is no token {token_id!r} to revoke.")


def find_callers(connection: Connection, digests: Collection[str]) -> dict[str, Caller]:
    """Return the organization and the actor of each token, by the digest of the token.

    Tokens that are unknown or revoked are left out.
    """
    return {
        digest: Caller(organization, Actor(token_id, name or token_id, "program"))
        for digest, organization, token_id, name in store.find_owners(connection, digests)
    }


def find_caller(connection: Connection, token: str) -> Caller | None:
    """Return the organization and the actor of a token, or None if the token is unknown or revoked."""
    return find_callers(connection, [digest(token)]).get(digest(token))


def digest(token: str) -> str:
    """Return the digest of a token. Only the digest is stored, and each call looks up its token by it."""
    # A token in a JSON body may contain half of a surrogate pair, which UTF-8 can't encode. Such a token is simply
    # unknown, so it must not cause an exception here.
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _is_token_name(name: str) -> bool:
    return name == name.strip() and name.isprintable() and 0 < len(name.encode("utf-8", "replace")) <= _MAX_NAME_BYTES


def _is_name(name: str) -> bool:
    """Return whether the name may be used for a token (docs/api.md, "Tokens and organizations").

    It must be usable in a header, a path and a query without being quoted.
    """
    return (
        0 < len(name.encode("utf-8", "replace")) <= _MAX_NAME_BYTES
        and name.isascii()
        and name.isprintable()
        and not any(character in ' /,?#\\\\"' for character in name)
        and name not in {".", "..", "None"}
    )
