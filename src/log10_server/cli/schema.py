"""`log10-server migrate` and `log10-server openapi`: the schema of the database, and the description of the API."""

import json
import os

import click

from log10_server.cli.databases import open_existing, open_migrated
from log10_server.cli.errors import reports_errors
from log10_server.db import migrations
from log10_server.db.database import Database
from log10_server.settings import Settings


@click.command()
@click.option("--down-to", metavar="REVISION", help="Go down to this revision instead; `base` empties the database.")
@reports_errors
def migrate(down_to: str | None) -> None:
    """Migrate the database to the schema of this program."""
    settings = Settings.from_environment(os.environ)
    with open_migrated(settings) if down_to is None else open_existing(settings, any_schema=True) as database:
        if down_to is not None:
            migrations.downgrade(database, down_to)
        with database.reading() as connection:
            click.echo(f"The database has the schema {migrations.current(connection) or 'base'}.")


@click.command()
def openapi() -> None:
    """Print the OpenAPI document of the API. Needs no database."""
    # This import takes long, and other commands don't need it.
    from log10_server.web.app import create_app

    app = create_app(Settings(), Database("sqlite:///never-opened.db"))
    click.echo(json.dumps(app.openapi(), indent=2, ensure_ascii=False))
