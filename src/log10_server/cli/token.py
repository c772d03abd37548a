"""`log10-server token`: issue, list and revoke the tokens that programs send."""

import sys
from typing import Any

import click

from log10_server.cli.databases import choose_organization, find_organization, open_existing
from log10_server.cli.errors import reports_errors
from log10_server.cli.output import as_json_option, as_time, print_json
from log10_server.services import organizations
from log10_server.store import organizations as directory
from log10_server.store.organizations import TokenRow


@click.group()
def token() -> None:
    """Issue, list and revoke tokens, which programs send in the header X-Log10-Token."""


@token.command("issue")
@click.argument("organization", required=False)
@click.option(
    "--value-from-stdin", is_flag=True, help="Accept a token that your programs already have: read it from stdin."
)
@click.option(
    "--name", help="The name of the token. Feedback that is uploaded with the token shows this name as its author."
)
@reports_errors
def issue_token(organization: str | None, value_from_stdin: bool, name: str | None) -> None:
    """Issue a token for ORGANIZATION and print it. It can't be shown again.

    ORGANIZATION is an id or a slug; leave it out when there is only one organization.
    """
    value = sys.stdin.readline().strip("\r\n") if value_from_stdin else None
    with open_existing() as database, database.writing() as connection:
        # Two commands that run at the same time must not give the same name to two tokens.
        database.lock_exclusively(connection, "tokens")
        owner = choose_organization(directory.list_all(connection), organization)
        issued = organizations.issue_token(connection, database.clock, owner.id, value, name)
    if value_from_stdin:
        click.echo(f"Organization {owner.id} now accepts the token that you gave. The token's id:", err=True)
        click.echo(issued.row.id)
    else:
        click.echo(f"Token {issued.row.id} of organization {owner.id}. Its value is shown only now:", err=True)
        click.echo(issued.value)


@token.command("list")
@click.argument("organization", required=False)
@as_json_option
@reports_errors
def list_tokens(organization: str | None, as_json: bool) -> None:
    """List the tokens of ORGANIZATION, oldest first: id, when it was issued, valid or revoked, name.

    ORGANIZATION is an id or a slug; leave it out when there is only one organization.
    """
    with open_existing() as database:
        owner = find_organization(database, organization)
        with database.reading() as connection:
            rows = directory.list_tokens(connection, owner.id)
    if as_json:
        print_json(_as_object(row) for row in rows)
        return
    for row in rows:
        status = "valid" if row.revoked_at is None else f"revoked {as_time(row.revoked_at)}"
        click.echo("  ".join([row.id, as_time(row.created_at), status, *([row.name] if row.name else [])]))


def _as_object(row: TokenRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "organization_id": row.organization_id,
        "name": row.name,
        "created_at_ms": row.created_at // 1000,
        "revoked_at_ms": None if row.revoked_at is None else row.revoked_at // 1000,
    }


@token.command("revoke")
@click.argument("token_id")
@reports_errors
def revoke_token(token_id: str) -> None:
    """Revoke the token with the id TOKEN_ID. Running servers refuse it within a second."""
    with open_existing() as database, database.writing() as connection:
        organizations.revoke_token(connection, database.clock, token_id)
    click.echo(f"Token {token_id} is revoked.")
