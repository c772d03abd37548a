"""The command `log10-server`: each module here holds one group of commands; rules live in the services."""

import click

from log10_server import __version__
from log10_server.cli.organization import organization
from log10_server.cli.output import GroupListingSettings
from log10_server.cli.schema import migrate, openapi
from log10_server.cli.serve import serve
from log10_server.cli.token import token
from log10_server.cli.transfer import export_data, import_data


@click.group(
    cls=GroupListingSettings, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="log10-server")
def main() -> None:
    """A self-hosted server for programs that speak the Log10 API.

    Settings are environment variables, listed below. Every command prints errors on standard error, and ends with
    exit code 0 only when it has succeeded.
    """


for command in (serve, migrate, organization, token, export_data, import_data, openapi):
    main.add_command(command)
