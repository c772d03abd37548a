"""Prints lists as lines or as JSON, and adds the list of settings to the help of a command."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import click

from log10_server.clock import utc
from log10_server.settings import NO_UPPER_BOUND, Setting, described

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects instead.")

_WIDE = 80


def as_time(microseconds: int) -> str:
    """Format an instant, given in microseconds since 1970, for people."""
    instant: datetime = utc(microseconds)
    return instant.strftime("%Y-%m-%d %H:%M:%S UTC")


def print_json(objects: Iterable[Mapping[str, Any]]) -> None:
    """Print a list as one JSON array, so that the whole output is one JSON document. An empty list prints `[]`."""
    click.echo(json.dumps(list(objects), indent=2))


class _ListsSettings:
    """A mixin for click commands that adds the list of settings to their help."""

    def format_epilog(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(info.variable, f"{info.meaning} {_bounds(info, default)}") for info, default in described()]
        with formatter.section("Settings, read from environment variables"):
            if formatter.width >= _WIDE:
                formatter.write_dl(rows, col_max=max(len(variable) for variable, _ in rows))
                return
            # A narrow terminal has no room for the meanings next to a column of names, so each meaning stands below its
            # name.
            for variable, meaning in rows:
                formatter.write_text(variable)
                with formatter.indentation():
                    formatter.write_text(meaning)


class CommandListingSettings(_ListsSettings, click.Command):
    """A command whose help lists the settings."""


class GroupListingSettings(_ListsSettings, click.Group):
    """A group whose help lists the settings."""


def _bounds(info: Setting, default: Any) -> str:
    """Describe the default and the range of a setting in click's format for options."""
    if isinstance(default, bool):
        return f"[default: {str(default).lower()}]"
    if not isinstance(default, int):
        return f"[default: {default}]" if default else "[not set by default]"
    bounds = f"at least {info.minimum}" if info.maximum == NO_UPPER_BOUND else f"{info.minimum} to {info.maximum}"
    return f"[default: {default}; {bounds}]"
