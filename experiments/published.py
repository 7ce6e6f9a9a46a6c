"""The table at the head of the report: the paper's own figures, and what came out here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from experiments.plan import duration
from experiments.tables import table

HEADER = (
    "figure", "published", "here", "setting, published", "setting here", "seeds",
    "median time of a cell",
)  # fmt: skip


@dataclass(frozen=True)
class Published:
    """A figure of the paper, beside the one of the finished cells in `lines`."""

    what: str
    paper: str
    here: str
    paper_setting: str
    setting: str
    lines: Sequence[dict[str, Any]]

    @property
    def row(self) -> tuple[str, ...]:
        seeds = {line["key"].get("seed", 0) for line in self.lines}
        time = duration(median(line["seconds"] for line in self.lines))
        return (self.what, self.paper, self.here, self.paper_setting, self.setting,
                str(len(seeds)), time)  # fmt: skip


def published_table(figures: Iterable[Published]) -> list[str]:
    """Those for which there is a finished cell."""
    return table(HEADER, [figure.row for figure in figures if figure.lines])
