"""`log10-server serve`: migrate the database, create the first organization and token, and serve."""

import errno
import logging
import os
import shlex
import socket
import sys

import click

from log10_server import __version__
from log10_server.cli.databases import open_unchanged
from log10_server.cli.errors import reports_errors
from log10_server.cli.output import CommandListingSettings
from log10_server.db import migrations
from log10_server.db.database import Connection, Database
from log10_server.errors import Invalid
from log10_server.services import organizations
from log10_server.services.organizations import IssuedToken
from log10_server.settings import Settings, SettingsError
from log10_server.store import organizations as directory
from log10_server.store.organizations import OrganizationRow


@click.command(cls=CommandListingSettings)
@click.option("--host", help="Address to listen on, instead of LOG10_SERVER_HOST.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on, instead of LOG10_SERVER_PORT.")
@reports_errors
def serve(host: str | None, port: int | None) -> None:
    """Migrate the database and serve. The first start creates an organization and a token."""
    settings = Settings.from_environment(os.environ)
    # The server listens first, so that a port that is in use is reported before anything is created.
    listening = _listen(host or settings.host, settings.port if port is None else port)
    from log10_server.cli import server as running  # slow to import, and other commands don't need it

    running.log_to_stderr()
    with open_unchanged(settings) as database:
        address = _address(settings, listening)
        _print(f"log10-server {__version__} on {address} ({database.describe()})", "")
        migrations.migrate(database)
        with database.writing() as connection:
            database.lock_exclusively(connection, "organizations")
            first = _create_first(settings, database, connection)
            oldest = directory.list_all(connection)[0]
        server, runtime = running.build(settings, database, address)
        _print(*_how_to_call(settings, address, first, oldest), "", f"Swagger UI: {address}/docs")
        _print("Stop with Ctrl-C.", "")
        server.run(sockets=[listening])
        if not server.started:
            raise click.ClickException("The server could not start.")
        if runtime.is_stuck:
            # A thread is still waiting for a database that doesn't answer. A normal exit would wait for that thread.
            logging.getLogger(__name__).warning("ended without waiting longer for the database, which did not answer")
            logging.shutdown()
            os._exit(0)


def _listen(host: str, port: int) -> socket.socket:
    """Bind a socket and listen on it. Raises ClickException when the address can't be used."""
    listening = None
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        # The socket must listen now: until one of them listens, several sockets may be bound to the same port, so a
        # second server would only fail later. Clients that connect before the server accepts connections wait in this
        # queue.
        listening.listen(2048)
        return listening
    except OSError as error:
        if listening is not None:
            listening.close()
        if error.errno == errno.EADDRINUSE:
            raise click.ClickException(_port_in_use(host, port)) from None
        raise click.ClickException(f"Can't listen on {host}, port {port}: {error.strerror}.") from None


def _port_in_use(host: str, port: int) -> str:
    free = _free_port_near(host, port)
    return (
        f"Port {port} on {host} is in use by another program. Use another port: `LOG10_SERVER_PORT={free} make serve` "
        f"in a checkout, or `{_program()} serve --port {free}`."
    )


def _free_port_near(host: str, port: int) -> int:
    """Return the first free port among the twenty after this one.

    If none is free, the port after this one is returned. Another program may take the port a moment later.
    """
    candidates = [candidate for candidate in range(port + 1, port + 21) if candidate <= 65535] or [port - 1]
    for candidate in candidates:
        family, _, _, _, address = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError:
                continue
            return candidate
    return candidates[0]


def _address(settings: Settings, listening: socket.socket) -> str:
    """Return the URL at which programs can reach the server."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _create_first(settings: Settings, database: Database, connection: Connection) -> IssuedToken | None:
    """Create the first organization and its token. Raises SettingsError when a setting for them can't be used."""
    try:
        return organizations.create_first(
            connection, database.clock, settings.first_organization_id or None, settings.first_token or None
        )
    except Invalid as error:
        is_token = error.field_errors[0].path == "/value"
        variable = "LOG10_SERVER_FIRST_TOKEN" if is_token else "LOG10_SERVER_FIRST_ORGANIZATION_ID"
        raise SettingsError(f"{variable} can't be used. {error.field_errors[0].message}") from None


def _how_to_call(settings: Settings, address: str, first: IssuedToken | None, oldest: OrganizationRow) -> list[str]:
    """Return the lines that tell a person how to call the server.

    They name the first token or, if there was one before, say how to issue a new one.
    """
    if first is None:
        return [f"To get a new token: {_program()} token issue {oldest.slug}"]
    if settings.first_token:
        return [f"This first start created the organization {oldest.id}; its token is the one you set."]
    return [
        "This first start created an organization and a token. The token is shown only now:",
        "",
        f"export LOG10_URL={address}",
        f"export LOG10_TOKEN={first.value}",
        f"export LOG10_ORG_ID={first.row.organization_id}",
        "",
        "Try it. The answer is an empty list, because there is no feedback task yet:",
        "",
        'curl -sS -w \'\\n\' "$LOG10_URL/api/v1/feedback_task" -H "X-Log10-Token: $LOG10_TOKEN"',
    ]


def _print(*lines: str) -> None:
    """Print a line and flush it, so that printed and logged lines appear in the right order."""
    click.echo("\n".join(lines))
    sys.stdout.flush()


def _program() -> str:
    """Return the command with which this program was started, so that people can copy commands from the output."""
    return shlex.quote(sys.argv[0]) if os.sep in sys.argv[0] else "log10-server"
