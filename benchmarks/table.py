"""Results as a table: aligned for a terminal, and as Markdown."""

from collections.abc import Sequence

Cells = Sequence[Sequence[str]]


def aligned(cells: Cells) -> str:
    """The first row is the head; the first two columns and the last one stand left, figures right."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 or column == len(row) - 1 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def markdown(cells: Cells) -> str:
    """As `aligned`, for a document."""
    marks = ["---" if column < 2 else "---:" for column in range(len(cells[0]))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [cells[0], marks, *cells[1:]])


def number(value: float | None, digits: int = 2) -> str:
    """A figure with thousands apart; a dash for none."""
    return "-" if value is None else f"{value:,.{digits}f}".replace(",", " ")
