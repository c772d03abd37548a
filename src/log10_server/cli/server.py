"""Builds the uvicorn server that `log10-server serve` runs.

This is not in `serve.py`, because the imports are slow and the other commands don't need them.
"""

import gc
import logging
import signal
from socket import socket

import uvicorn

from log10_server.db.database import Database
from log10_server.runtime import cpu_affinity
from log10_server.runtime.runtime import Runtime
from log10_server.settings import Settings
from log10_server.web.app import create_app
from log10_server.web.server import descriptors
from log10_server.web.server.configuration import configuration

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """A server that logs when it begins to listen and when it stops."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start to listen, and log the address if that succeeded."""
        await super().startup(sockets)
        if self.started:
            log.info("listening on %s", self._address)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Log that the server stops, then stop it."""
        log.info("stopping: requests that are being served are answered first")
        await super().shutdown(sockets)


def log_to_stderr() -> None:
    """Log what an operator should know, one line for each event (docs/operations.md, "Logs")."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for library in ("uvicorn.error", "alembic"):  # they would log the same events a second time
        logging.getLogger(library).setLevel(logging.WARNING)


def build(settings: Settings, database: Database, address: str) -> tuple[Server, Runtime]:
    """Build the server, and the runtime of its app. After this call SIGINT and SIGTERM stop the server."""
    descriptors.raise_limit()
    app = create_app(settings, database)
    assert app.middleware_stack is not None
    # uvicorn calls the authentication middleware directly and not the FastAPI app, because what FastAPI does before its
    # middleware is not needed here.
    config = configuration(app.middleware_stack, settings)
    server = Server(config, address)

    def stop(*_: object) -> None:
        server.should_exit = True

    # The objects that exist now live as long as the process, so they are frozen, and the garbage collector does not
    # examine them again. It also runs less often than by default, because requests create few reference cycles.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    cpu_affinity.start()
    # uvicorn replaces these signal handlers while it serves. When it has stopped because of a signal, it raises the
    # signal again: these handlers then catch it, so the process ends with exit code 0. They also catch a signal that
    # arrives before uvicorn serves.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return server, app.state.runtime
