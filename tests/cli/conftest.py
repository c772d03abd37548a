"""The program in processes of its own, and its commands in this process."""

import subprocess
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from log10_server.cli import main
from log10_server.settings import described
from tests.running import (
    Program,
    empty_postgres_url,
    on_postgres,
    on_sqlite,
    plain_environment,
    program,
    program_on,
    serve,
)

__all__ = ["empty_postgres_url", "on_postgres", "on_sqlite", "plain_environment", "program", "program_on", "serve"]


def output_of(ran: subprocess.CompletedProcess[str]) -> str:
    """What a command that must succeed prints."""
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def is_refused(ran: subprocess.CompletedProcess[str], *words: str) -> None:
    """Whether a command failed with nothing on stdout and one line on stderr that has these words."""
    assert ran.returncode not in (0, None)
    assert ran.stdout == ""
    assert len(ran.stderr.strip().splitlines()) == 1, ran.stderr
    for word in words:
        assert word in ran.stderr


Quickly = Callable[..., subprocess.CompletedProcess[str]]


def in_this_process(program: Program, monkeypatch: pytest.MonkeyPatch) -> Quickly:
    """Run commands in this process: starting one takes half a second, and some tests need many."""
    monkeypatch.chdir(program.folder)
    for variable in [setting.variable for setting, _ in described()]:
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in program.environment.items() if name != "PATH"} | settings
        ran = CliRunner().invoke(main, arguments, input=stdin, env=environment, prog_name="log10-server")
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exc_info
        return subprocess.CompletedProcess(arguments, ran.exit_code, ran.stdout, ran.stderr)

    return run


@pytest.fixture
def quickly(on_sqlite: Program, monkeypatch: pytest.MonkeyPatch) -> Quickly:
    return in_this_process(on_sqlite, monkeypatch)


@pytest.fixture
def quickly_on_both(program: Program, monkeypatch: pytest.MonkeyPatch) -> Quickly:
    return in_this_process(program, monkeypatch)
