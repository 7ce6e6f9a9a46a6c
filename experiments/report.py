"""The report: a section for each experiment, made from the ledgers of the studies that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.cells import Key, Study, study

EXPERIMENTS: dict[str, tuple[str, ...]] = {
    "approximation": ("glue",),
    "mislabeled": ("glue",),
}
"""Each experiment, a module of experiments.sections, and the studies that it is made from."""


def needs(names: Sequence[str], scale: str, data: Path | None) -> list[tuple[Study, list[Key]]]:
    """The studies of some experiments, each once, with their cells."""
    wanted = dict.fromkeys(s for name in names for s in EXPERIMENTS[name])
    studies = [study(name, scale, data) for name in wanted]
    return [(made, made.keys) for made in studies]


def write(folder: Path, scale: str) -> Path:
    """Write RESULTS.md and its figures from the ledgers in `folder`; returns its path."""
    target = (folder.parent.parent if folder == _committed(scale) else folder) / "RESULTS.md"
    return target


def _committed(scale: str) -> Path:
    return Path(__file__).parent / "results" / scale
