"""Builds the uvicorn server that `log10-server serve` runs. Apart from `serve.py`, because its imports take long."""

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
from log10_server.web.server import configuration, descriptors

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
    for library in ("uvicorn.error", "alembic"):  # they would say the same again in more lines
        logging.getLogger(library).setLevel(logging.WARNING)


def build(settings: Settings, database: Database, address: str) -> tuple[Server, Runtime]:
    """The server, and the runtime of its app. From now on SIGINT and SIGTERM end the server."""
    descriptors.raise_limit()
    app = create_app(settings, database)
    assert app.middleware_stack is not None
    # uvicorn calls the authentication middleware directly, because FastAPI does nothing before it that is needed.
    config = configuration(app.middleware_stack, settings)
    server = Server(config, address)

    def stop(*_: object) -> None:
        server.should_exit = True

    # What exists now lives as long as the process: frozen, the garbage collector never looks at it again. It also
    # runs less often than by default, since requests leave few cycles behind.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    cpu_affinity.start()
    # uvicorn replaces these handlers while it serves, and raises the signal that stopped it again when it is done:
    # with these handlers that ends with exit code 0. They also catch a signal that comes before it serves.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return server, app.state.runtime
