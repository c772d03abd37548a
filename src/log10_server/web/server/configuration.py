"""Configures the uvicorn server that serves the app."""

from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from log10_server.settings import Settings
from log10_server.web.server.connections import Bounds, Connections
from log10_server.web.server.descriptors import max_connections
from log10_server.web.server.protocol import HttpProtocol

# A stop may take 30 s (docs/api.md, "Durability"). Requests get this much of it to be answered, and the writer most of
# the rest.
_SECONDS_TO_ANSWER = 15


def configuration(app: ASGIApp, settings: Settings, **options: Any) -> uvicorn.Config:
    """Return the configuration with which uvicorn serves `app`. `options` are passed on to uvicorn."""
    connections = Connections(Bounds.of(settings, max_connections(settings)))
    protocol: Any = partial(HttpProtocol, connections)  # uvicorn calls this instead of a protocol class
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",  # a request to upgrade to a WebSocket is served as HTTP/1.1
        lifespan="on",
        log_config=None,
        access_log=settings.access_log,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_graceful_shutdown=_SECONDS_TO_ANSWER,
        **options,
    )
