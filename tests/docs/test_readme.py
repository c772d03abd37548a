"""README's own words, tried: its tour is run line by line, and its table of settings held against the program's."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from log10_server.settings import described
from tests.running import CHECKOUT, Program

README = CHECKOUT / "README.md"
SETTINGS = CHECKOUT / "docs" / "settings.md"
END = "\x1e"


@dataclass
class Step:
    """A command of the tour, and the lines that the README shows behind it."""

    command: str
    shown: list[str] = field(default_factory=list)


def tour() -> list[Step]:
    """The steps of the first `sh` block under a heading that names a tour. `# {` and `# [` begin what comes back."""
    found = re.search(r"^#+ [^\n]*\btour\b[^\n]*$.*?^```sh\n(.*?)^```$", README.read_text(), re.M | re.S | re.I)
    assert found is not None, "README has no tour"
    steps: list[Step] = []
    for line in found[1].replace("\\\n", "").splitlines():
        if re.match(r"# [{\[]", line):
            steps[-1].shown.append(line.removeprefix("# "))
        elif line.strip() and not line.startswith("#"):
            steps.append(Step(line))
    return steps


def ran_in_one_shell(commands: list[str], environment: dict[str, str], folder: Path) -> list[tuple[str, int]]:
    """What each command printed and its exit code. As when pasted: a command that fails doesn't end the shell."""
    script = "".join(f"{command}\nprintf '{END}%s{END}' $?\n" for command in commands)
    shell = subprocess.run(
        ["bash", "--noprofile", "--norc"],
        input=script,
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    parts = shell.stdout.split(END)
    return list(zip(parts[0::2], map(int, parts[1::2]), strict=False))


def stands_in(shown: str, printed: str) -> bool:
    """Whether the parts between the dots stand in what was printed, in their order, from its start to its end."""
    return re.fullmatch(".*".join(map(re.escape, shown.split("…"))), printed, re.S) is not None


@pytest.fixture
def shell(on_sqlite: Program) -> dict[str, str]:
    """An environment with no more than the exports that a first start prints."""
    exported = on_sqlite.serve().exported()
    return {name: on_sqlite.environment[name] for name in ("PATH", "HOME")} | exported


def test_each_line_of_the_tour_works_and_prints_what_is_shown(shell: dict[str, str], tmp_path: Path) -> None:
    steps = tour()

    printed = ran_in_one_shell([step.command for step in steps], shell, tmp_path)

    assert len(printed) == len(steps) > 6
    for step, (output, code) in zip(steps, printed, strict=True):
        assert code == 0, f"{step.command}\n{output}"
        lines = output.strip().splitlines()
        assert len(lines) == len(step.shown), f"{step.command}\nprints\n{output}\nbut README shows {step.shown}"
        for shown, line in zip(step.shown, lines, strict=True):
            assert stands_in(shown, line), f"{step.command}\nprints\n{line}\nand not\n{shown}"


def test_the_tour_goes_through_what_the_program_is_for() -> None:
    commands = "\n".join(step.command for step in tour())

    for path in ("/completions", "/feedback_task", "/completions/ungraded", "/feedback", "/feedback?"):
        assert f"{path} " in commands or f"{path}\n" in commands or path.endswith("?") and path in commands
    assert "curl" in commands
    assert not re.search(r"\b(jq|python|http)\s", commands), "a newcomer has curl and no more"


def test_what_the_readme_shows_would_be_missed() -> None:
    """The comparison itself: it must be able to fail."""
    assert stands_in('{"id":…"kind":"chat"}', '{"id":"x","kind":"chat"}')
    assert not stands_in('{"id":…"kind":"chat"}', '{"id":"x","kind":"prompt"}')
    assert not stands_in('{"completions":[]}', '{"completions":[{"id":"x"}]}')


def test_the_table_of_settings_is_the_programs_own() -> None:
    rows = re.findall(r"^\| `((?:LOG10_SERVER_|DATABASE_)\w+)` \| (.+?) \| (.*?) ?\|$", SETTINGS.read_text(), re.M)

    def spelled(default: object) -> str:
        text = str(default).lower() if isinstance(default, bool) else str(default)
        return f"`{text}`" if text else ""

    assert rows == [(one.variable, one.meaning, spelled(default)) for one, default in described()]
