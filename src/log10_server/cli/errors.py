"""How a command reports an error: one line on standard error that an operator can act on, and exit code 1."""

import sqlite3
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import click
from sqlalchemy.exc import DBAPIError

from log10_server.db.migrations import WrongSchema
from log10_server.errors import Refusal, Unavailable
from log10_server.settings import SettingsError

P = ParamSpec("P")
T = TypeVar("T")


def reports_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Decorate a command so that an expected error ends it with one line and no traceback."""

    @wraps(command)
    def reporting(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return command(*arguments, **options)
        except Unavailable as error:
            raise click.ClickException(f"The database can't be used: {_reason(error)}") from None
        except (Refusal, SettingsError, WrongSchema) as error:
            raise click.ClickException(str(error)) from None
        except (DBAPIError, sqlite3.Error) as error:
            raise click.ClickException(f"The database can't be used: {_reason(error)}") from None

    return reporting


def _reason(error: BaseException) -> str:
    """The first line of the driver's message, which never contains a password."""
    cause: Any = error.__cause__ if isinstance(error, Refusal) and error.__cause__ is not None else error
    lines = str(getattr(cause, "orig", None) or cause).strip().splitlines()
    return lines[0].strip() if lines else type(cause).__name__
