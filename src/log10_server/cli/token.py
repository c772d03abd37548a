"""`log10-server token`: issue, list and revoke the tokens that programs send."""

import sys

import click

from log10_server.cli.databases import choose_organization, find_organization, open_migrated
from log10_server.cli.errors import reports_errors
from log10_server.cli.output import as_time
from log10_server.services import organizations
from log10_server.store import organizations as directory


@click.group()
def token() -> None:
    """Issue, list and revoke tokens, which programs send in the header X-Log10-Token."""


@token.command("issue")
@click.argument("organization", required=False)
@click.option("--value-from-stdin", is_flag=True, help="Keep a token that your programs already have: read its value.")
@reports_errors
def issue_token(organization: str | None, value_from_stdin: bool) -> None:
    """Issue a token for ORGANIZATION and print it, this once.

    ORGANIZATION is an id or a slug; leave it out when there is only one organization.
    """
    value = sys.stdin.readline().strip("\r\n") if value_from_stdin else None
    with open_migrated() as database, database.writing() as connection:
        owner = choose_organization(directory.list_all(connection), organization)
        issued = organizations.issue_token(connection, database.clock, owner.id, value)
    if value_from_stdin:
        click.echo(f"Organization {owner.id} now accepts the token that you gave. The token's id:", err=True)
        click.echo(issued.row.id)
    else:
        click.echo(f"Token {issued.row.id} of organization {owner.id}. Its value is shown only now:", err=True)
        click.echo(issued.value)


@token.command("list")
@click.argument("organization", required=False)
@reports_errors
def list_tokens(organization: str | None) -> None:
    """List the tokens of ORGANIZATION: id, when each was issued, and when it was revoked."""
    with open_migrated() as database:
        owner = find_organization(database, organization)
        with database.reading() as connection:
            for row in directory.list_tokens(connection, owner.id):
                revoked = "good" if row.revoked_at is None else f"revoked {as_time(row.revoked_at)}"
                click.echo(f"{row.id}  {as_time(row.created_at)}  {revoked}")


@token.command("revoke")
@click.argument("token_id")
@reports_errors
def revoke_token(token_id: str) -> None:
    """Revoke the token with the id TOKEN_ID. Running servers refuse it within a second."""
    with open_migrated() as database, database.writing() as connection:
        organizations.revoke_token(connection, database.clock, token_id)
    click.echo(f"Token {token_id} is revoked.")
