"""Fixtures that run the program in processes, for tests that can't run it in the process of the tests."""

from tests.running import on_sqlite, plain_environment, program_on, serve

__all__ = ["on_sqlite", "plain_environment", "program_on", "serve"]
