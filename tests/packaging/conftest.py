"""The server as an operator runs it: in a process of its own."""

from tests.running import CHECKOUT, Serve, Served, a_free_port, empty_postgres_url, free_port, plain_environment, serve

__all__ = [
    "CHECKOUT",
    "Serve",
    "Served",
    "a_free_port",
    "empty_postgres_url",
    "free_port",
    "plain_environment",
    "serve",
]
