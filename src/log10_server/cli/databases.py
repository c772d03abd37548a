"""Opens the database for a command, and finds the organization that the command is about.

`serve` and `migrate` create a database that does not exist and migrate an older one; `organization create` only
creates it, as the first step of a new installation. All other commands need a database that is there and has this
program's schema: a command that lists or exports must leave nothing behind, and migrating under a running server of
an older version is a decision that `log10-server migrate` leaves to the operator.
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
    """Open the database without creating or migrating it. Waits for a Postgres that is still starting.

    Errors of the database and refusals are raised as a ClickException that names the database.
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
    """Open the database; create it when it does not exist, and migrate it when its schema is older."""
    with open_unchanged(settings) as database:
        migrations.migrate(database)
        yield database


@contextmanager
def open_or_create(settings: Settings | None = None) -> Iterator[Database]:
    """Open the database; create it when it does not exist or is empty.

    Raises WrongSchema when its schema is not this program's.
    """
    with open_unchanged(settings or Settings.from_environment(os.environ)) as database:
        if not database.exists() or _revision(database) is None:
            migrations.migrate(database)
        _require_schema(database)
        yield database


@contextmanager
def open_existing(settings: Settings | None = None, *, any_schema: bool = False) -> Iterator[Database]:
    """Open a database that exists.

    Raises WrongSchema when there is none, or when its schema is not this program's and `any_schema` is false.
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
    """The organization with this id or slug; for None, the only organization that there is.

    Raises NotFound when there is none, or when there are several and none is named.
    """
    with database.reading() as connection:
        return choose_organization(directory.list_all(connection), id_or_slug)


def choose_organization(organizations: list[OrganizationRow], id_or_slug: str | None) -> OrganizationRow:
    """The same as `find_organization`, but among these organizations."""
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
    """An error that names the database that the command looked at, without its password."""
    return click.ClickException(f"{message} ({database.describe()})")


def _reason(error: BaseException) -> str:
    """The first line of the driver's message, which never contains a password."""
    cause: Any = error.__cause__ if isinstance(error, Refusal) and error.__cause__ is not None else error
    lines = str(getattr(cause, "orig", None) or cause).strip().splitlines()
    return lines[0].strip() if lines else type(cause).__name__


def _revision(database: Database) -> str | None:
    with database.reading() as connection:
        return migrations.current(connection)


def _require_schema(database: Database) -> None:
    """Raises WrongSchema, with advice, when the schema of the database is not the one that this program needs."""
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
