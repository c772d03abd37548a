"""What an error of the database means: to a caller, and to whoever could do the same work again."""

import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from log10_server.errors import Refusal, Unavailable


def refused(error: Exception) -> Exception:
    """What a database's error means to a caller; the error itself where it is a defect of ours."""
    raised = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(raised, sqlite3.Error):
        away = getattr(raised, "sqlite_errorcode", 0) & 0xFF in _SQLITE_AWAY
    else:
        # Class 57: stopped or cancelled, 53: out of disk or memory, 08: connection, 55P03: waited for a lock too long.
        state = getattr(raised, "sqlstate", None) or "08000"
        away = isinstance(error, OperationalError | InterfaceError) and state[:2] in {
            "57",
            "53",
            "08",
            "55",
            "25",
            "58",
        }
    return Unavailable("The database can't be reached or is busy. Try again.") if away else error


def is_connection_lost(refusal: Refusal) -> bool:
    """Whether an open connection was lost on the way: on a new one the same work may succeed."""
    return bool(getattr(refusal.__cause__, "connection_invalidated", False))


def is_conflict(error: Exception) -> bool:
    """Whether another transaction was in the way, so that doing the same work again may succeed."""
    raised = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(raised, "sqlstate", None)
    return isinstance(raised, sqlite3.IntegrityError) or state in {"23503", "23505", "40001", "40P01"}


_SQLITE_AWAY = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT,
}  # fmt: skip
