"""What has been found: the finished cells of all studies, as sections of the report read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cells import Key, Ledger, Study, kept, study
from experiments.plan import COMMITTED

EXPERIMENTS: dict[str, tuple[str, ...]] = {
    "approximation": ("glue",),
    "mislabeled": ("glue",),
    "fullsize": ("fullsize", "retraining"),
    "runtime": ("runtime",),
    "text": ("text",),
    "images": ("images",),
    "rank": ("glue",),
    "damping": ("glue", "text", "images"),
    "norms": ("training", "glue"),
    "scaling": ("scaling",),
    "adapters": ("adapters",),
}
"""Each experiment, a module of experiments.sections, and the studies that it is made from: its
section is written once the first of them has a finished cell."""


@dataclass(frozen=True)
class Results:
    """What sections are made from, and where their figures go."""

    scale: str
    folder: Path
    studies: dict[str, Study]
    ledgers: dict[str, Ledger]

    def settings(self, name: str) -> Any:
        return self.studies[name].settings

    def figure(self, name: str) -> tuple[Path, str]:
        """A figure's file, and its path from the report."""
        return self.folder / "figures" / f"{name}.svg", f"{self._from_report}figures/{name}.svg"

    def kept(self, study: str, key: Key, file: str) -> str | None:
        """The path from the report of a file that a cell left, if it did."""
        path = kept(self.folder, study, key) / file
        if not path.exists():
            return None
        return self._from_report + path.relative_to(self.folder).as_posix()

    def has(self, experiment: str) -> bool:
        """Whether the first study of an experiment has a finished cell."""
        return bool(self.ledgers[EXPERIMENTS[experiment][0]].lines)

    def committed(self, name: str) -> bool:
        """Whether a study's finished cells are the ones that are committed, line by line."""
        study = self.studies[name]
        ours = Ledger.of(study, COMMITTED / self.scale).within(study.keys)
        return self.scale == "desk" and self.ledgers[name].lines == ours.lines

    def whole(self, name: str) -> bool:
        """Whether all cells of a study are finished."""
        return all(key in self.ledgers[name] for key in self.studies[name].keys)

    @property
    def report(self) -> Path:
        """Beside the ledgers; but that of results/desk stands above, where it is looked for."""
        top = self.folder.parts[-2:] == ("results", "desk")
        return (self.folder.parents[1] if top else self.folder) / "RESULTS.md"

    @property
    def _from_report(self) -> str:
        relative = self.folder.relative_to(self.report.parent).as_posix()
        return "" if relative == "." else f"{relative}/"


def needs(names: Sequence[str], scale: str, data: Path | None) -> list[tuple[Study, list[Key]]]:
    """The studies of some experiments, each once, with their cells."""
    wanted = dict.fromkeys(s for name in names for s in EXPERIMENTS[name])
    studies = [study(name, scale, data) for name in wanted]
    return [(made, made.keys) for made in studies]


def read(folder: Path, scale: str) -> Results:
    """The finished cells in the ledgers of `folder`."""
    studies = {made.name: made for made, _ in needs(list(EXPERIMENTS), scale, None)}
    ledgers = {name: Ledger.of(made, folder).within(made.keys) for name, made in studies.items()}
    return Results(scale, folder, studies, ledgers)
