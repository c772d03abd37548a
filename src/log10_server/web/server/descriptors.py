"""Deals with the limit on the number of files and sockets that this process may open.

A server without a free descriptor can neither accept a connection nor open its database. So the limit is raised as far
as allowed, and the number of connections is kept below it.
"""

import contextlib
import logging

from log10_server.settings import Settings

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

# Descriptors for everything except client connections, databases and validation processes: standard streams, the event
# loop, listening sockets, modules that are being imported, logs, and connections that were accepted but are not closed
# yet.
_RESERVE = 64
# A SQLite connection has three open files: the database, `-wal` and `-shm`. Besides the readers, nine threads have a
# connection.
_FILES_PER_DATABASE_CONNECTION = 3
_OTHER_DATABASE_CONNECTIONS = 9
# The pipes to one validation process, of which there may be twice as many as the setting says.
_PIPES_PER_VALIDATOR = 2 * 4
# A system whose hard limit is "unlimited" may still refuse more than this number (`OPEN_MAX` on macOS).
_LIMIT_IF_UNLIMITED = 10_240
# The server allows at least this many connections, even if the limit on descriptors is too low for them.
_MIN_CONNECTIONS = 16


def raise_limit() -> None:
    """Raise the soft limit to the hard limit, if the system has such limits and allows it."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (hard, _LIMIT_IF_UNLIMITED):
        if limit == resource.RLIM_INFINITY or soft in (limit, resource.RLIM_INFINITY):
            continue
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
            return


def max_connections(settings: Settings) -> int:
    """Return how many connections may be open at once.

    It is the setting, or fewer if there are not enough descriptors.
    """
    if resource is None:
        return settings.max_connections
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return settings.max_connections
    database = _FILES_PER_DATABASE_CONNECTION * (settings.readers + _OTHER_DATABASE_CONNECTIONS)
    room = soft - _RESERVE - database - _PIPES_PER_VALIDATOR * settings.validators
    return max(_MIN_CONNECTIONS, min(settings.max_connections, room))
