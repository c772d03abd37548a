"""Writes what was measured: to the terminal, as Markdown for people, as JSON for `charts`."""

import json
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.table import Cells, aligned, markdown

FOLDER = Path(__file__).parent / "results"


def written(name: str, title: str, about: dict[str, Any], cells: Cells, result: dict[str, Any], note: str = "") -> None:
    """`NAME.md` and `NAME.json` in the folder of results. The table is printed, too, with `note` above it."""
    FOLDER.mkdir(exist_ok=True)
    heading = "\n\n".join(filter(None, (machine.describe_in_a_line(about), note)))
    (FOLDER / f"{name}.md").write_text(f"# {title}\n\n{heading}\n\n{markdown(cells)}\n")
    (FOLDER / f"{name}.json").write_text(json.dumps({"machine": about, **result}, indent=1) + "\n")
    print(f"\n{title}\n{heading}\n\n{aligned(cells)}\n\nWritten: benchmarks/results/{name}.md and .json")


def read(name: str) -> dict[str, Any] | None:
    """The result that was written last under this name; None when there is none."""
    file = FOLDER / f"{name}.json"
    result: dict[str, Any] | None = json.loads(file.read_text()) if file.exists() else None
    return result
