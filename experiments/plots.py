"""Figures as SVG, the same bytes from the same numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

if TYPE_CHECKING:  # not in matplotlib 3.9
    from matplotlib.typing import RcKeyType

STYLE: dict[RcKeyType, Any] = {
    "svg.hashsalt": "datainf", "svg.fonttype": "none", "font.size": 8, "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3, "legend.frameon": False,
    "figure.facecolor": "white",
}  # fmt: skip

COLOURS = {
    "datainf": "#c1272d", "gradient": "#7f7f7f", "weighted-gradient": "#b58900",
    "lissa 10": "#6a3d9a", "cg 2": "#a6cee3", "cg 5": "#1f78b4", "exact": "#000000",
    "datainf, unit": "#f46d43",
    "exact, model blocks, unit, λ trace:0.02": "#8c6bb1", "own loss": "#4daf4a",
}  # fmt: skip
"""One colour a method in every figure; others take matplotlib's own."""


@contextmanager
def figure(file: Path, columns: int, rows: int = 1, height: float = 2.2) -> Iterator[Any]:
    """A grid of axes [rows, columns], written to `file` when the block ends."""
    with matplotlib.rc_context(STYLE):
        made, axes = pyplot.subplots(
            rows, columns, figsize=(2.4 * columns + 0.6, height * rows + 0.5), squeeze=False,
            sharey="row", layout="constrained",
        )  # fmt: skip
        yield axes
        handles = {
            label: handle
            for ax in axes.flat
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        made.legend(
            handles.values(),
            handles.keys(),
            loc="outside lower center",
            ncols=min(7, 2 * columns),
            fontsize=7,
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        made.savefig(file, metadata={"Date": None})
        pyplot.close(made)


def curve(ax: Any, label: str, points: Mapping[float, Sequence[float]], style: str = "o-") -> None:
    """A line through the means at each x, with standard deviations over seeds as bars."""
    xs = [x for x in points if points[x]]
    ax.errorbar(
        xs, [fmean(points[x]) for x in xs],
        yerr=[stdev(points[x]) if len(points[x]) > 1 else 0.0 for x in xs],
        fmt=style, ms=2.5, lw=1, capsize=1.5, label=label, color=COLOURS.get(label),
    )  # fmt: skip
