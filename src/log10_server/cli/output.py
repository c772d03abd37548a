"""Prints lists, as lines or as JSON, and the settings in the help of a command."""

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
    """An instant, in microseconds since 1970, as text for people."""
    instant: datetime = utc(microseconds)
    return instant.strftime("%Y-%m-%d %H:%M:%S UTC")


def print_json(objects: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON array, so that every list is one document; `[]` when it is empty."""
    click.echo(json.dumps(list(objects), indent=2))


class _ListsSettings:
    """Adds the settings to the help of a click command."""

    def format_epilog(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(about.variable, f"{about.meaning} {_bounds(about, default)}") for about, default in described()]
        with formatter.section("Settings, read from environment variables"):
            if formatter.width >= _WIDE:
                formatter.write_dl(rows, col_max=max(len(variable) for variable, _ in rows))
                return
            # In a narrow terminal a column of names would leave no room for their meanings beside it.
            for variable, meaning in rows:
                formatter.write_text(variable)
                with formatter.indentation():
                    formatter.write_text(meaning)


class CommandListingSettings(_ListsSettings, click.Command):
    """A command whose help lists the settings."""


class GroupListingSettings(_ListsSettings, click.Group):
    """A group whose help lists the settings."""


def _bounds(about: Setting, default: Any) -> str:
    """The default and the range of a setting, as click prints those of an option."""
    if isinstance(default, bool):
        return f"[default: {str(default).lower()}]"
    if not isinstance(default, int):
        return f"[default: {default}]" if default else "[not set by default]"
    bounds = f"at least {about.minimum}" if about.maximum == NO_UPPER_BOUND else f"{about.minimum} to {about.maximum}"
    return f"[default: {default}; {bounds}]"
