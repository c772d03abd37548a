"""`examples/a_day.sh` works as it stands, with the real client."""

import json
import os
import subprocess
from pathlib import Path

from tests.clients.log10_io.conftest import Home


def test_the_example_of_a_day_works(home: Home, checkout: Path, tmp_path: Path) -> None:
    # The environment was made in another folder, so its own `log10` names a Python that is not there.
    command = tmp_path / "bin" / "log10"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{home.python}" -m log10 "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(command.parent), str(home.python.parent), home.environment["PATH"]])

    ran = subprocess.run(
        [checkout / "examples" / "a_day.sh"],
        env=home.environment | {"PATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Ungraded: 3" in ran.stdout
    assert 'Ungraded: {"completions":[]}' in ran.stdout
    [usage] = [json.loads(line.removeprefix("Usage: ")) for line in ran.stdout.splitlines() if line.startswith("Usage")]
    assert usage["total"]["calls"] == 3
    training = [json.loads(line) for line in (tmp_path / "training.jsonl").read_text().splitlines()]
    assert sorted(row["messages"][-1]["content"] for row in training) == ["Cold, but clear.", "Mild."]
    assert (tmp_path / "everything.jsonl").read_text().count('"type":"completion"') == 3
