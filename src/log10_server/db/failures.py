"""Errors that the database machinery raises, and the drivers' errors that it turns into them."""

import sqlite3

from sqlalchemy.exc import DBAPIError

from log10_server.errors import Unavailable

# What a statement may raise: SQLAlchemy wraps its drivers' errors, and a few statements go to SQLite's driver itself.
DRIVER_ERRORS = (DBAPIError, sqlite3.Error)


class WrongSchema(Exception):
    """The database can't be brought to this program's schema; the text says why."""


class ConnectionLost(Unavailable):
    """An open connection was lost before the commit began: on a new one the same work may succeed."""

    def __init__(self) -> None:
        super().__init__("The database can't be reached or is busy. Try again.")


class OutcomeUnknown(Unavailable):
    """The connection was lost during the commit: the work may be stored, whole, or not at all."""

    def __init__(self) -> None:
        super().__init__(
            "The database was lost while it stored. What was sent may be there, whole, or not at all; send it again.",
            code="no_answer",
        )


def driver_error_of(error: Exception) -> BaseException | None:
    """The driver's own error, of which SQLAlchemy's tells."""
    return error.orig if isinstance(error, DBAPIError) else error


def lost_connection(error: BaseException | None) -> bool:
    """Whether SQLAlchemy has dropped the connection because of this error."""
    return bool(getattr(error, "connection_invalidated", False))
