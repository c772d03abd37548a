"""The command `log10-server`: short stories over services."""

import gc
import json
import logging
import os
import shlex
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from log10_server import __version__
from log10_server.clock import utc
from log10_server.db import migrations
from log10_server.db.database import Database
from log10_server.db.migrations import WrongSchema
from log10_server.errors import Invalid, Refusal, Unavailable
from log10_server.services import organizations
from log10_server.services.organizations import Issued
from log10_server.settings import Settings, SettingsError
from log10_server.store import organizations as directory
from log10_server.store.organizations import OrganizationRow

if TYPE_CHECKING:
    import uvicorn

    from log10_server.runtime.runtime import Runtime

P = ParamSpec("P")
T = TypeVar("T")


def one_line(command: Callable[P, T]) -> Callable[P, T]:
    """What can go wrong for an operator is said in one line, with exit code 1."""

    @wraps(command)
    def said(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return command(*arguments, **options)
        except Unavailable as error:
            raise click.ClickException(f"The database can't be used: {_reason(error)}") from None
        except (Refusal, SettingsError, WrongSchema) as error:
            raise click.ClickException(str(error)) from None
        except (DBAPIError, sqlite3.Error) as error:
            raise click.ClickException(f"The database can't be used: {_reason(error)}") from None

    return said


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="log10-server")
def main() -> None:
    """A home of your own for programs that speak the Log10 API.

    Settings come from the environment: DATABASE_URL, and LOG10_SERVER_… as listed in docs/settings.md.
    """


@main.command()
@click.option("--host", help="Address to listen on, instead of LOG10_SERVER_HOST.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on, instead of LOG10_SERVER_PORT.")
@one_line
def serve(host: str | None, port: int | None) -> None:
    """Migrate the database and serve. The first start makes an organization and a token."""
    settings = Settings.from_environment(os.environ)
    listening = _listen(host or settings.host, settings.port if port is None else port)
    with _database(settings) as database:
        with database.writing() as connection:
            database.exclusively(connection, "organizations")
            first = _first(settings, database, connection)
            everyone = list(directory.every(connection))
        server, runtime = _server(settings, database)
        _welcome(settings, database, _address(settings, listening), first, everyone[0])
        server.run(sockets=[listening])
        if not server.started:
            raise click.ClickException("The server could not start.")
        if runtime.is_stuck:  # a thread waits for a database that hangs; Python would wait for it, too
            logging.getLogger(__name__).warning("the database did not answer in time; ended without it")
            logging.shutdown()
            os._exit(0)


@main.command()
@click.option("--down-to", metavar="REVISION", help="Go down to this revision instead; `base` empties the database.")
@one_line
def migrate(down_to: str | None) -> None:
    """Bring the database to the schema of this program."""
    with _opened(Settings.from_environment(os.environ)) as database:
        if down_to is None:
            migrations.migrate(database)
        else:
            migrations.downgrade(database, down_to)
        with database.reading() as connection:
            click.echo(f"The database has the schema {migrations.current(connection) or 'base'}.")


@main.group()
def organization() -> None:
    """Organizations: whose the data is."""


@organization.command("create")
@click.option("--id", "id", help="Its id, such as the LOG10_ORG_ID that your programs have already.")
@click.option("--slug", help="Its name in addresses.")
@one_line
def create_organization(id: str | None, slug: str | None) -> None:
    """Make an organization, and print its id."""
    with _database() as database, database.writing() as connection:
        database.exclusively(connection, "organizations")  # an id and a slug of two must not be the same
        click.echo(organizations.create(connection, database.clock, id, slug).id)


@organization.command("list")
@one_line
def list_organizations() -> None:
    """List the organizations: id, slug, when it was made."""
    with _database() as database, database.reading() as connection:
        for row in directory.every(connection):
            click.echo(f"{row.id}  {row.slug}  {_time(row.created_at)}")


@main.group()
def token() -> None:
    """Tokens: what programs carry in X-Log10-Token."""


@token.command("issue")
@click.argument("organization", required=False)
@click.option("--value-from-stdin", is_flag=True, help="Keep a token that your programs have already: read its value.")
@one_line
def issue_token(organization: str | None, value_from_stdin: bool) -> None:
    """Make a token of ORGANIZATION (id or slug; may be left out when there is one), and print it this once."""
    value = sys.stdin.readline().strip("\r\n") if value_from_stdin else None
    with _database() as database, database.writing() as connection:
        owner = _owner(list(directory.every(connection)), organization)
        issued = organizations.issue_token(connection, database.clock, owner.id, value)
    if value_from_stdin:
        click.echo(f"The token of the organization {owner.id} has the value that you gave. Its id:", err=True)
        click.echo(issued.row.id)
    else:
        click.echo(f"Token {issued.row.id} of the organization {owner.id}. Its value is shown only now:", err=True)
        click.echo(issued.value)


@token.command("list")
@click.argument("organization", required=False)
@one_line
def list_tokens(organization: str | None) -> None:
    """List the tokens of ORGANIZATION: id, when it was issued, and when it was revoked."""
    with _database() as database, database.reading() as connection:
        owner = _owner(list(directory.every(connection)), organization)
        for row in directory.tokens(connection, owner.id):
            revoked = "good" if row.revoked_at is None else f"revoked {_time(row.revoked_at)}"
            click.echo(f"{row.id}  {_time(row.created_at)}  {revoked}")


@token.command("revoke")
@click.argument("token_id")
@one_line
def revoke_token(token_id: str) -> None:
    """Revoke a token by its id. Running servers refuse it within a second."""
    with _database() as database, database.writing() as connection:
        organizations.revoke_token(connection, database.clock, token_id)
    click.echo(f"Token {token_id} is revoked.")


@main.command("export")
@click.argument("organization", required=False)
@click.option("--output", type=click.Path(dir_okay=False), help="Write to this file; packed when its name ends in .gz.")
@click.option("--training", is_flag=True, help="Only chat fine-tuning rows in OpenAI's format, chosen by feedback.")
@click.option("--task", "task_id", help="With --training: the feedback task whose accepted feedback chooses.")
@click.option("--filter", help="With --training: what the values must satisfy, such as 'grade >= 4'.")
@one_line
def export_data(
    organization: str | None, output: str | None, training: bool, task_id: str | None, filter: str | None
) -> None:
    """Write everything of ORGANIZATION (id or slug; may be left out when there is one) as JSON Lines."""
    from log10_server.web.transfer import commands

    if training != (task_id is not None) or (filter is not None and not training):
        raise click.UsageError("--training and --task go together; --filter narrows them.")
    with _database() as database:
        owner = _named_owner(database, organization)
        if task_id is None:
            commands.export_all(database, owner.id, output)
        else:
            commands.export_training(database, owner.id, task_id, filter, output)


@main.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True, dir_okay=False))
@click.option("--organization", help="Id or slug of the organization; may be left out when there is one.")
@one_line
def import_data(files: tuple[str, ...], organization: str | None) -> None:
    """Take in each FILE that `log10-server export`, `log10 completions download` or `log10 feedback download` wrote.

    Ids, times, tags and links are kept. The same file may come again: what is stored already stays as it is, so an
    import that was stopped goes on when it is started again. Completions come before the feedback on them.
    """
    from log10_server.web.transfer import commands

    settings = Settings.from_environment(os.environ)
    with _database(settings) as database:
        commands.import_files(database, _named_owner(database, organization).id, settings.limits, files)


@main.command()
def openapi() -> None:
    """Print the OpenAPI document of the API."""
    from log10_server.web.app import create_app

    app = create_app(Settings(), Database("sqlite:///never-opened.db"))
    click.echo(json.dumps(app.openapi(), indent=2, ensure_ascii=False))


@contextmanager
def _opened(settings: Settings) -> Iterator[Database]:
    """The database as it is, once it can be reached."""
    database = Database(settings.database_url, settings.readers)
    try:
        if database.is_postgres:
            migrations.wait_until_reachable(database, settings.database_wait)
        yield database
    finally:
        database.close()


@contextmanager
def _database(settings: Settings | None = None) -> Iterator[Database]:
    """The database with this program's schema."""
    with _opened(settings or Settings.from_environment(os.environ)) as database:
        migrations.migrate(database)
        yield database


def _named_owner(database: Database, id_or_slug: str | None) -> OrganizationRow:
    with database.reading() as connection:
        return _owner(list(directory.every(connection)), id_or_slug)


def _owner(everyone: list[OrganizationRow], id_or_slug: str | None) -> OrganizationRow:
    if id_or_slug is None:
        if len(everyone) == 1:
            return everyone[0]
        raise click.ClickException(
            "There is no organization yet: log10-server organization create"
            if not everyone
            else "Name one of the organizations: log10-server organization list"
        )
    for row in everyone:
        if id_or_slug in (row.id, row.slug):
            return row
    raise click.ClickException(f"There is no organization {id_or_slug!r}.")


def _listen(host: str, port: int) -> socket.socket:
    """A socket that is bound, so that a busy port is known before anything else is done."""
    listening = None
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)  # a second server on the port is refused here; early callers wait
        return listening
    except OSError as error:
        if listening is not None:
            listening.close()
        raise click.ClickException(f"Can't listen on {host}, port {port}: {error.strerror}.") from None


def _address(settings: Settings, listening: socket.socket) -> str:
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _welcome(
    settings: Settings, database: Database, address: str, first: Issued | None, organization: OrganizationRow
) -> None:
    lines = [f"log10-server {__version__} on {address} ({database.described()})", ""]
    if first is not None and not settings.first_token:
        lines += [
            "This first start made an organization and a token. The token is shown only now:",
            "",
            f"export LOG10_URL={address}",
            f"export LOG10_TOKEN={first.value}",
            f"export LOG10_ORG_ID={first.row.organization_id}",
            "",
            "Try it:",
            "",
            'curl -s -H "X-Log10-Token: $LOG10_TOKEN" "$LOG10_URL/api/v1/feedback_task"',
        ]
    elif first is not None:
        lines += [f"This first start made the organization {organization.id}; its token is the one you set."]
    else:
        lines += [f"A new token: {_command()} token issue {organization.slug}"]
    click.echo("\n".join([*lines, "", f"Swagger UI: {address}/docs", "Stop with Ctrl-C.", ""]))
    sys.stdout.flush()


def _first(settings: Settings, database: Database, connection: Connection) -> Issued | None:
    try:
        return organizations.first(
            connection, database.clock, settings.first_organization_id or None, settings.first_token or None
        )
    except Invalid as error:
        token = error.faults[0].path == "/value"
        variable = "LOG10_SERVER_FIRST_TOKEN" if token else "LOG10_SERVER_FIRST_ORGANIZATION_ID"
        raise SettingsError(f"{variable} can't be used. {error.faults[0].message}") from None


def _server(settings: Settings, database: Database) -> tuple["uvicorn.Server", "Runtime"]:
    """The server, which SIGINT and SIGTERM end from now on, and what it runs on."""
    import uvicorn

    from log10_server.runtime import cpu_affinity
    from log10_server.web.app import create_app

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    app = create_app(settings, database)
    config = uvicorn.Config(
        app.middleware_stack or app,  # the door at once: what FastAPI does before it is not used here
        access_log=settings.access_log,
        log_config=None,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        server_header=False,
        timeout_keep_alive=65,
        timeout_graceful_shutdown=15,
        lifespan="on",
    )
    server = uvicorn.Server(config)

    def stop(*_: object) -> None:
        server.should_exit = True

    # What a start has made stays for good: the collector need not look at it, and looks less often at the rest.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    cpu_affinity.start()
    # uvicorn takes these over while it serves, and raises what stopped it once more when it is done: a clean end is
    # exit code 0. A signal that comes before it serves counts, too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return server, app.state.runtime


def _command() -> str:
    """How this program was called, so that what is printed can be pasted."""
    return shlex.quote(sys.argv[0]) if os.sep in sys.argv[0] else "log10-server"


def _reason(error: BaseException) -> str:
    """What the driver says, in its first line: it names no password."""
    cause: Any = error.__cause__ if isinstance(error, Refusal) and error.__cause__ is not None else error
    said = str(getattr(cause, "orig", None) or cause).strip().splitlines()
    return said[0].strip() if said else type(cause).__name__


def _time(at: int) -> str:
    moment: datetime = utc(at)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
