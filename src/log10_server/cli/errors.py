"""How a command reports an error: one line on standard error that an operator can act on, and exit code 1."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click

from log10_server.errors import Refusal
from log10_server.settings import SettingsError

P = ParamSpec("P")
T = TypeVar("T")


def reports_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Decorate a command so that an expected error ends it with one line and no traceback.

    Errors of an open database are turned into such a line in `databases.py`, which knows the database's name.
    """

    @wraps(command)
    def reporting(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return command(*arguments, **options)
        except (Refusal, SettingsError) as error:
            raise click.ClickException(str(error)) from None

    return reporting
