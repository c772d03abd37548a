"""`log10-server organization`: create organizations and list them."""

import click

from log10_server.cli.databases import open_migrated
from log10_server.cli.errors import reports_errors
from log10_server.cli.output import as_time
from log10_server.services import organizations
from log10_server.store import organizations as directory


@click.group()
def organization() -> None:
    """Create and list organizations, the owners of all data."""


@organization.command("create")
@click.option("--id", "organization_id", help="Its id, such as the LOG10_ORG_ID that your programs already have.")
@click.option("--slug", help="Its name in addresses.")
@reports_errors
def create_organization(organization_id: str | None, slug: str | None) -> None:
    """Create an organization and print its id."""
    with open_migrated() as database, database.writing() as connection:
        # Otherwise two commands at once could give one name to two organizations: as an id and as a slug.
        database.lock_exclusively(connection, "organizations")
        click.echo(organizations.create(connection, database.clock, organization_id, slug).id)


@organization.command("list")
@reports_errors
def list_organizations() -> None:
    """List the organizations: id, slug, and when each was created."""
    with open_migrated() as database, database.reading() as connection:
        for row in directory.list_all(connection):
            click.echo(f"{row.id}  {row.slug}  {as_time(row.created_at)}")
