"""`log10-server organization`: create organizations and list them."""

import click

from log10_server.cli.databases import open_existing, open_or_create
from log10_server.cli.errors import reports_errors
from log10_server.cli.output import as_json_option, as_time, print_json
from log10_server.services import organizations
from log10_server.store import organizations as directory


@click.group()
def organization() -> None:
    """Create and list organizations, the owners of all data."""


@organization.command("create")
@click.option("--id", "organization_id", help="Its id, such as the LOG10_ORG_ID that your programs already have.")
@click.option("--slug", help="Its name in URLs, such as `acme`.")
@reports_errors
def create_organization(organization_id: str | None, slug: str | None) -> None:
    """Create an organization and print its id."""
    with open_or_create() as database, database.writing() as connection:
        # An organization must not have an id that is the slug of another one. The table has no constraint for this, so
        # two commands at the same time could create such a pair. The lock makes one of them wait for the other.
        database.lock_exclusively(connection, "organizations")
        click.echo(organizations.create(connection, database.clock, organization_id, slug).id)


@organization.command("list")
@as_json_option
@reports_errors
def list_organizations(as_json: bool) -> None:
    """List the organizations, oldest first: id, slug, and when each was created."""
    with open_existing() as database, database.reading() as connection:
        rows = directory.list_all(connection)
    if as_json:
        print_json({"id": row.id, "slug": row.slug, "created_at_ms": row.created_at // 1000} for row in rows)
        return
    for row in rows:
        click.echo(f"{row.id}  {row.slug}  {as_time(row.created_at)}")
