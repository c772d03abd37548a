"""The README's tour is pasted into every shell that it names, and the table of settings is compared with the code."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from log10_server.settings import described
from tests.running import CHECKOUT, Program

README = CHECKOUT / "README.md"
SETTINGS = CHECKOUT / "docs" / "settings.md"

# Interactive, because a pasted line is read by an interactive shell: zsh takes `#` for a comment only in scripts, and bash
# expands `!` only when it is interactive. Without the user's own configuration.
SHELLS = {
    "bash": ["bash", "--noprofile", "--norc", "-i"],
    "zsh": ["zsh", "--no-rcs", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}


@dataclass
class Step:
    """One code block of the tour, and the answers that the README shows below it, one for each command."""

    commands: str
    answers: list[str]


def tour() -> list[Step]:
    """The steps of the section whose heading contains the word tour."""
    section = re.search(r"^## [^\n]*\btour\b[^\n]*\n(.*?)(?=^## )", README.read_text(), re.M | re.S | re.I)
    assert section is not None, "the README has no tour"
    blocks = re.findall(r"^```sh\n(.*?)^```\n\s*^```json\n(.*?)^```", section[1], re.M | re.S)
    return [Step(commands, answers.splitlines()) for commands, answers in blocks]


def require(shell: str) -> None:
    """Skip the test when the shell is not installed, but fail in CI, which installs all of them."""
    if shutil.which(shell) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{shell} is not installed; .ci/run installs it")
        pytest.skip(f"{shell} is not installed (apt install {shell})")


def paste(shell: str, text: str, environment: dict[str, str], folder: Path) -> list[str]:
    """The lines that an interactive shell prints on standard output when a text is pasted into it."""
    finished = subprocess.run(
        SHELLS[shell],
        input=text,
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        start_new_session=True,  # without a terminal, so that an interactive shell does not stop the test run
    )
    return [line for line in finished.stdout.splitlines() if line]


def matches(shown: str, printed: str) -> bool:
    """Whether the printed line consists of the shown parts, with any text where the README shows `…`."""
    return re.fullmatch(".*".join(map(re.escape, shown.split("…"))), printed, re.S) is not None


@pytest.mark.parametrize("shell", SHELLS)
def test_the_tour_works_when_pasted(shell: str, on_sqlite: Program, tmp_path: Path) -> None:
    """The server's own `export` lines and then every block, as a newcomer pastes them."""
    require(shell)
    served = on_sqlite.serve()
    exports = "".join(f"export {name}={value}\n" for name, value in served.exported().items())
    environment = {name: on_sqlite.environment[name] for name in ("PATH", "HOME")} | {"TERM": "dumb"}
    steps = tour()

    lines = paste(shell, exports + "".join(step.commands for step in steps) + "exit\n", environment, tmp_path)

    answers = [line for line in lines if line.startswith("{")]
    shown = [answer for step in steps for answer in step.answers]
    assert len(shown) > 6
    assert len(answers) == len(shown), "\n".join(lines)
    for expected, printed in zip(shown, answers, strict=True):
        assert matches(expected, printed), f"{shell} prints\n{printed}\nand the README shows\n{expected}"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_commands_for_coming_from_log10_keep_organization_and_token(
    shell: str, on_sqlite: Program, tmp_path: Path
) -> None:
    require(shell)
    section = README.read_text().split("## Coming from Log10")[1]
    block = re.search(r"^```sh\n(.*?)^log10-server serve\n```", section, re.M | re.S)
    assert block is not None
    variables = {"LOG10_ORG_ID": "old-organization", "LOG10_TOKEN": "old-token", "TERM": "dumb"}

    paste(shell, block[1] + "exit\n", on_sqlite.environment | variables, on_sqlite.folder)

    served = on_sqlite.serve()
    answer = httpx.post(
        f"{served.url}/api/completions",
        headers={"X-Log10-Token": "old-token"},
        json={"organization_id": "old-organization"},
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    assert served.exported() == {}, "the first start has no reason to make another organization"


def test_the_tour_visits_what_the_server_is_for() -> None:
    commands = "\n".join(step.commands for step in tour())

    for path in (
        "/completions",
        "/feedback_task",
        "/completions/ungraded",
        "/feedback",
        "/feedback?task_id=friendliness",
    ):
        assert f'/api/v1{path}"' in commands


def test_the_code_blocks_hold_commands_only() -> None:
    """A comment or an apostrophe breaks a paste in zsh, and a shell function breaks it in fish."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text(), re.M | re.S)

    for block in blocks:
        assert not re.search(r"^\s*#| # ", block, re.M)
        assert block.count("'") % 2 == 0
        assert "()" not in block
        assert not re.search(r"\b(jq|python|http)\s", block), "a newcomer may have no program but curl"


def test_the_comparison_with_the_readme_can_fail() -> None:
    assert matches('{"id":…"kind":"chat"}', '{"id":"x","kind":"chat"}')
    assert not matches('{"id":…"kind":"chat"}', '{"id":"x","kind":"prompt"}')
    assert not matches('{"completions":[]}', '{"completions":[{"id":"x"}]}')


def test_the_table_of_settings_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `((?:LOG10_SERVER_|DATABASE_)\w+)` \| (.+?) \| (.*?) ?\|$", SETTINGS.read_text(), re.M)

    def spelled(default: object) -> str:
        text = str(default).lower() if isinstance(default, bool) else str(default)
        return f"`{text}`" if text else ""

    assert rows == [(setting.variable, setting.meaning, spelled(default)) for setting, default in described()]
