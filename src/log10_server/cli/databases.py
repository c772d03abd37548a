"""Opens the database for a command, and finds the organization that the command works on.

`serve` and `migrate` create a database that does not exist, and migrate an older one. `organization create` creates one
too, because it may be the first command of a new installation, but it does not migrate. All other commands require a
database with the schema of this program: a command that lists or exports must not change anything, and migrating under
a running server of an older version is a decision that the operator makes by running `log10-server migrate`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from log10_server.db import migrations
from log10_server.db.database import Database
from log10_server.db.failures import DRIVER_ERRORS, WrongSchema
from log10_server.errors import NotFound, Refusal, Unavailable
from log10_server.settings import Settings
from log10_server.store import organizations as directory
from log10_server.store.organizations import OrganizationRow


@contextmanager
def open_unchanged(settings: Settings) -> Iterator[Database]:
    """Open the database without creating or migrating it. If Postgres is still starting, this waits for it.

    Database errors and refusals are raised as a ClickException that names the database.
    """
    database = Database(settings.database_url, settings.readers)
    try:
        database.wait_until_reachable(settings.database_wait)
        yield database
    except Unavailable as error:
        raise _error_of_database(f"The database can't be used: {_reason(error)}", database) from None
    except (Refusal, WrongSchema) as error:
        raise _error_of_database(str(error), database) from None
    except DRIVER_ERRORS as error:
        raise _error_of_database(f"The database can't be used: {_reason(error)}", database) from None
    finally:
        database.close()


@contextmanager
def open_migrated(settings: Settings) -> Iterator[Database]:
    """Open the database. If it does not exist, it is created; if its schema is older, it is migrated."""
    with open_unchanged(settings) as database:
        migrations.migrate(database)
        yield database


@contextmanager
def open_or_create(settings: Settings | None = None) -> Iterator[Database]:
    """Open the database. If it does not exist or is empty, it is created.

    Raises WrongSchema if it has another schema than the one of this program.
    """
    with open_unchanged(settings or Settings.from_environment(os.environ)) as database:
        if not database.exists() or _revision(database) is None:
            migrations.migrate(database)
        _require_schema(database)
        yield database


@contextmanager
def open_existing(settings: Settings | None = None, *, any_schema: bool = False) -> Iterator[Database]:
    """Open a database that exists.

    Raises WrongSchema if it does not exist, or if `any_schema` is false and it has another schema than the one of this
    program.
    """
    with open_unchanged(settings or Settings.from_environment(os.environ)) as database:
        if not database.exists():
            raise WrongSchema(
                "The database does not exist. DATABASE_URL names it; `log10-server serve` and "
                "`log10-server organization create` create it."
            )
        if not any_schema:
            _require_schema(database)
        yield database


def find_organization(database: Database, id_or_slug: str | None) -> OrganizationRow:
    """Return the organization with this id or slug. For None, return the only organization in the database.

    Raises NotFound if there is no such organization, or if none is named and there are several.
    """
    with database.reading() as connection:
        return choose_organization(directory.list_all(connection), id_or_slug)


def choose_organization(organizations: list[OrganizationRow], id_or_slug: str | None) -> OrganizationRow:
    """Do the same as `find_organization`, but choose among these organizations."""
    if not organizations:
        raise NotFound(
            "There is no organization yet. `log10-server organization create` creates one."
            if id_or_slug is None
            else f"There is no organization {id_or_slug!r}, and no other one. "
            "`log10-server organization create` creates one."
        )
    if id_or_slug is None:
        if len(organizations) == 1:
            return organizations[0]
        raise NotFound(
            f"There are {len(organizations)} organizations: name one. `log10-server organization list` lists them."
        )
    for row in organizations:
        if id_or_slug in (row.id, row.slug):
            return row
    raise NotFound(f"There is no organization {id_or_slug!r}. `log10-server organization list` lists those that exist.")


def _error_of_database(message: str, database: Database) -> click.ClickException:
    """Return an error that names the database, without its password."""
    return click.ClickException(f"{message} ({database.describe()})")


def _reason(error: BaseException) -> str:
    """Return the first line of the driver's message. It never contains a password."""
    cause: Any = error.__cause__ if isinstance(error, Refusal) and error.__cause__ is not None else error
    lines = str(getattr(cause, "orig", None) or cause).strip().splitlines()
    return lines[0].strip() if lines else type(cause).__name__


def _revision(database: Database) -> str | None:
    with database.reading() as connection:
        return migrations.current(connection)


def _require_schema(database: Database) -> None:
    """Raises WrongSchema, with advice, if the database does not have the schema that this program needs."""
    revision, newest = _revision(database), migrations.head()
    if revision == newest:
        return
    if revision is None:
        raise WrongSchema(
            "The database is empty: it has no tables of log10-server. `log10-server migrate` creates them."
        )
    migrations.require_known(revision)
    raise WrongSchema(
        f"The database has the schema {revision}, and this program needs {newest}. "
        "Run `log10-server migrate`, or start the server, which migrates too."
    )
