"""Help lists the settings, and shells complete commands."""

import os
import subprocess

import pytest

from log10_server.settings import described
from tests.cli.conftest import Quickly, output_of
from tests.running import Program


@pytest.mark.parametrize("command", ["serve", ""])
@pytest.mark.parametrize("columns", [40, 80, 300])
def test_help_lists_every_setting_with_its_default_and_fits_the_terminal(
    on_sqlite: Program, command: str, columns: int
) -> None:
    printed = on_sqlite.output_of(*command.split(), "--help", COLUMNS=str(columns))

    text = " ".join(printed.split())
    for setting, default in described():
        assert f"{setting.variable} {setting.meaning}" in text
        if isinstance(default, int) and not isinstance(default, bool):
            assert f"{setting.variable} {setting.meaning} [default: {default};" in text
    # click itself does not go below 50 columns.
    assert max(map(len, printed.splitlines())) <= max(min(columns, 100), 50)


def test_help_shows_no_value_that_is_set(quickly: Quickly) -> None:
    printed = output_of(quickly("serve", "--help", LOG10_SERVER_FIRST_TOKEN="a-secret-token"))

    assert "a-secret-token" not in printed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed_for_each_shell(on_sqlite: Program, shell: str) -> None:
    script = on_sqlite.output_of(_LOG10_SERVER_COMPLETE=f"{shell}_source")

    assert "log10-server" in script
    assert f"_LOG10_SERVER_COMPLETE={shell}_complete" in script
    assert list(on_sqlite.folder.iterdir()) == []


def test_completion_completes_commands_and_options(on_sqlite: Program) -> None:
    def completed(line: str) -> list[str]:
        words = line.split(" ")
        settings = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_LOG10_SERVER_COMPLETE": "bash_complete"}
        return [line.partition(",")[2] for line in on_sqlite.output_of(**settings).splitlines()]

    assert completed("log10-server tok") == ["token"]
    assert completed("log10-server token ") == ["issue", "list", "revoke"]
    assert "--json" in completed("log10-server token list --")


@pytest.mark.skipif(not os.path.exists("/bin/bash"), reason="needs bash")
def test_bash_accepts_the_completion_script(on_sqlite: Program) -> None:
    script = 'eval "$(_LOG10_SERVER_COMPLETE=bash_source log10-server)" && complete -p log10-server'

    ran = subprocess.run(
        ["/bin/bash", "-c", script], env=on_sqlite.environment, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert "log10-server" in ran.stdout
