"""The exceptions that `log10_server.db` raises, and helpers for the errors of SQLAlchemy and the drivers."""

import sqlite3

from sqlalchemy.exc import DBAPIError

from log10_server.errors import Unavailable

# The exceptions that a statement may raise. SQLAlchemy wraps driver errors in DBAPIError, but a few statements go
# directly to SQLite's driver.
DRIVER_ERRORS = (DBAPIError, sqlite3.Error)


class WrongSchema(Exception):
    """The database can't be migrated to the schema of this program. The text says why."""


class ConnectionLost(Unavailable):
    """An open connection was lost before the commit began, so the same work may succeed on a new connection."""

    def __init__(self) -> None:
        super().__init__("The database can't be reached or is busy. Try again.")


class OutcomeUnknown(Unavailable):
    """The connection was lost during the commit, so the work is stored either completely or not at all."""

    def __init__(self) -> None:
        super().__init__(
            "The connection to the database was lost during the commit, so the request is stored completely or not at "
            "all. If it has an id, it can safely be sent again.",
            code="no_answer",
        )


def driver_error_of(error: Exception) -> BaseException | None:
    """The driver's own error, which SQLAlchemy may have wrapped in a DBAPIError."""
    return error.orig if isinstance(error, DBAPIError) else error


def lost_connection(error: BaseException | None) -> bool:
    """Whether SQLAlchemy has dropped the connection because of this error."""
    return bool(getattr(error, "connection_invalidated", False))
