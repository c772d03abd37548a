"""The program in processes of its own, for what can't be tested in this one. Their names say that they are processes."""

from tests.running import on_sqlite, plain_environment, program_on, serve

__all__ = ["on_sqlite", "plain_environment", "program_on", "serve"]
