"""Draws what was measured last as pictures for the documentation."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks import results
from benchmarks.options import CantMeasure
from benchmarks.table import number

FOLDER = Path(__file__).parents[1] / "docs" / "performance"

# The same figures give the same file: ids made from a fixed salt, no date, text as text.
_STYLE = {
    "svg.hashsalt": "log10-server",
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_NAMES = {"limit": "bare FastAPI endpoint, stores nothing", "sqlite": "SQLite", "postgres": "Postgres"}
_COLORS = {"limit": "#888888", "sqlite": "#1f77b4", "postgres": "#d95f02"}


def draw() -> None:
    """Every picture for which there are figures. Raises CantMeasure when there are none."""
    throughput, growth = results.read("bench"), results.read("scale")
    if throughput is None and growth is None:
        raise CantMeasure("Nothing has been measured yet: make bench, make bench-scale.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        if throughput is not None and throughput["clients"]:
            _throughput(throughput["clients"])
        if growth is not None:
            _growth(growth["figures"])


def _throughput(by_clients: dict[str, dict[str, float]]) -> None:
    figure, axes = plt.subplots(figsize=(7, 4))
    for name, rates in by_clients.items():
        clients = [int(count) for count in rates]
        axes.plot(clients, list(rates.values()), "o-", label=_NAMES[name], color=_COLORS[name])
    axes.set_xscale("log", base=2)
    axes.set_xticks(clients, [str(count) for count in clients])
    axes.set_ylim(0, 1.3 * max(rate for rates in by_clients.values() for rate in rates.values()))  # the legend's place
    axes.set_xlabel("clients")
    axes.set_ylabel("completions of 2.5 KB created a second")
    axes.legend(frameon=False)
    _save(figure, "throughput")


# What the picture of growth shows. All other requests are in the table.
_SHOWN = (
    "create 2.5 KB",
    "log rows started and finished, both",
    "feedback by a tag of its own",
    "batch of 100",
    "completions, newest",
    "completions, status=started",
    "completions, a common tag and a rare model",
    "log rows, a common tag, offset of a half",
    "ungraded, of all tasks, offset of a half",
    "feedback, total",
    "feedback, a filter, one of 1 000 matches",
    "search of tags, one hit in the middle of a name",
    "usage, by model",
    "usage, of two tags, one of 1 %",
)


def _growth(figures: list[dict[str, Any]]) -> None:
    """Draw some of the requests, in milliseconds. The line of one that does not grow is level."""
    shown = [figure for figure in figures if figure["part"] == "request" and figure["name"] in _SHOWN]
    databases = list(dict.fromkeys(figure["database"] for figure in shown))
    figure, panels = plt.subplots(1, len(databases), figsize=(5 * len(databases), 6), sharey=True, squeeze=False)
    for panel, database in zip(panels[0], databases, strict=True):
        panel.set_prop_cycle(color=mpl.colormaps["tab20"].colors)
        for request in shown:
            if request["database"] == database:
                sizes = [int(size) for size in request["at"]]
                panel.plot(sizes, list(request["at"].values()), "o-", markersize=3, label=request["name"])
        panel.set_xscale("log")
        panel.set_xticks(sizes, [number(size, 0) for size in sizes])
        panel.minorticks_off()
        panel.set_yscale("log")
        panel.set_title(_NAMES[database])
        panel.set_xlabel("completions stored")
    panels[0][0].set_ylabel("ms, one client, median")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(databases), frameon=False, fontsize=8)
    figure.subplots_adjust(bottom=0.36 if len(databases) > 1 else 0.52)
    _save(figure, "growth", tight=False)


def _save(figure: Any, name: str, tight: bool = True) -> None:
    if tight:
        figure.tight_layout()
    file = FOLDER / f"{name}.svg"
    figure.savefig(file, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    print(f"Drawn: {file.relative_to(FOLDER.parents[1])}")
