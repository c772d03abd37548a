"""The number of files and sockets that the operating system lets this process open.

A server that has no descriptor left can neither accept a connection nor open its database, so the limit is raised as
far as allowed, and the number of connections is kept below it.
"""

import contextlib
import logging

from log10_server.settings import Settings

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

# What the process opens besides its connections: standard streams, the event loop, listening sockets, modules that are
# being imported, logs, and connections that were accepted and are not yet closed again.
_RESERVE = 64
# A SQLite connection has three files open: the database, `-wal` and `-shm`. Beside the readers, four threads have one.
_FOR_A_DATABASE_CONNECTION = 3
_OTHER_DATABASE_CONNECTIONS = 4
# Pipes to a validation process.
_FOR_A_VALIDATOR = 4
# Systems that call the hard limit unlimited still refuse more than this (`OPEN_MAX` on macOS).
_WHERE_UNLIMITED = 10_240
# However low the limit, so many connections are tried.
_FEWEST_CONNECTIONS = 16


def raise_limit() -> None:
    """Raise the soft limit to the hard one, where the system has one and allows it."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, _WHERE_UNLIMITED):
        if wanted == resource.RLIM_INFINITY or soft in (wanted, resource.RLIM_INFINITY):
            continue
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
            return


def most_connections(settings: Settings) -> int:
    """How many connections may be open at once: the setting, or fewer where the limit on descriptors leaves fewer."""
    if resource is None:
        return settings.max_connections
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return settings.max_connections
    database = _FOR_A_DATABASE_CONNECTION * (settings.readers + _OTHER_DATABASE_CONNECTIONS)
    room = soft - _RESERVE - database - _FOR_A_VALIDATOR * settings.validators
    return max(_FEWEST_CONNECTIONS, min(settings.max_connections, room))
