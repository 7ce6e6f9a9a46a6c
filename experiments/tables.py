"""Figures in words and tables of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

MISSING = "–"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a Markdown table."""
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return [
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(row)} |" for row in cells),
        "",
    ]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± standard deviation (n − 1) over seeds; the mean alone where there is one."""
    if not values:
        return MISSING
    centre = _short(fmean(values), digits)
    return centre if len(values) == 1 else f"{centre} ± {_short(stdev(values), digits)}"


def mean(values: Sequence[float], digits: int = 3) -> str:
    """The mean alone, for sentences."""
    return spread([fmean(values)] if values else [], digits)


def folded(summary: str, lines: Sequence[str]) -> list[str]:
    """Lines that a reader opens."""
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "</details>", ""]


def bold_best(cells: list[str]) -> list[str]:
    """The cell with the highest mean in bold."""
    numbers = [
        float(cell.split(" ")[0].replace(",", "")) if cell != MISSING else float("-inf")
        for cell in cells
    ]
    best = max(numbers, default=0)
    return [
        f"**{cell}**" if number == best and cell != MISSING else cell
        for cell, number in zip(cells, numbers, strict=True)
    ]


def _short(value: float, digits: int) -> str:
    """.64 for 0.64, as the paper's tables have it."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
