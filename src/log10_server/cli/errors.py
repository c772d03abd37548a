"""Reports the error of a command as one line on standard error that an operator can act on, with exit code 1."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click

from log10_server.errors import Refusal
from log10_server.settings import SettingsError

P = ParamSpec("P")
T = TypeVar("T")


def reports_errors(command: Callable[P, T]) -> Callable[P, T]:
    """A decorator of commands: an expected error ends the command with one line instead of a traceback.

    Errors of an open database are handled in `databases.py`, which can also name the database.
    """

    @wraps(command)
    def reporting(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return command(*arguments, **options)
        except (Refusal, SettingsError) as error:
            raise click.ClickException(str(error)) from None

    return reporting
