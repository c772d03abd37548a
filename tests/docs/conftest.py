"""The program in processes of its own."""

from tests.running import empty_postgres_url, on_postgres, on_sqlite, plain_environment, program, program_on, serve

__all__ = ["empty_postgres_url", "on_postgres", "on_sqlite", "plain_environment", "program", "program_on", "serve"]
