"""How a command opens the database, and finds the organization that it is about."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from log10_server.db import migrations
from log10_server.db.database import Database
from log10_server.settings import Settings
from log10_server.store import organizations as directory
from log10_server.store.organizations import OrganizationRow


@contextmanager
def open_as_it_is(settings: Settings) -> Iterator[Database]:
    """Open the database without looking at its schema; a Postgres that is starting is waited for."""
    database = Database(settings.database_url, settings.readers)
    try:
        if database.is_postgres:
            migrations.wait_until_reachable(database, settings.database_wait)
        yield database
    finally:
        database.close()


@contextmanager
def open_migrated(settings: Settings | None = None) -> Iterator[Database]:
    """Open the database and bring it to this program's schema."""
    with open_as_it_is(settings or Settings.from_environment(os.environ)) as database:
        migrations.migrate(database)
        yield database


def find_organization(database: Database, id_or_slug: str | None) -> OrganizationRow:
    """The organization of that id or slug; without one, the only organization that there is."""
    with database.reading() as connection:
        return choose_organization(directory.list_all(connection), id_or_slug)


def choose_organization(organizations: list[OrganizationRow], id_or_slug: str | None) -> OrganizationRow:
    """As `find_organization`, among these. Raises ClickException when none is meant, or none can be told apart."""
    if id_or_slug is None:
        if len(organizations) == 1:
            return organizations[0]
        raise click.ClickException(
            "Name one of the organizations: log10-server organization list"
            if organizations
            else "There is no organization yet: log10-server organization create"
        )
    for row in organizations:
        if id_or_slug in (row.id, row.slug):
            return row
    raise click.ClickException(f"There is no organization {id_or_slug!r}.")
