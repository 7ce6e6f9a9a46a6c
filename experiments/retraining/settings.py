"""What decides the retraining test with the paper's number of rows.

At the paper's scale there are no cells: the study `glue` has this many rows there, and trains
again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments import fullsize
from experiments.cells import GRID, Key
from experiments.glue.settings import GlueSettings


@dataclass(frozen=True)
class RetrainingSettings:
    """arms: who chooses what to drop, beside `random` and `oracle`: methods and baselines.
    apart: whether test rows are left out that share words in a row with a training row."""

    glue: GlueSettings
    arms: tuple[str, ...] = (
        "datainf", "datainf, unit", "own loss", "representation similarity", "BM25",
    )  # fmt: skip
    apart: bool = True
    tasks: tuple[str, ...] = field(default=("SST-2",), metadata=GRID)
    ranks: tuple[int, ...] = field(default=(4,), metadata=GRID)
    seeds: int = field(default=2, metadata=GRID)
    data: Path | None = field(default=None, metadata=GRID)


SETTINGS = {
    "desk": RetrainingSettings(replace(fullsize.SETTINGS["desk"], test_rows=3000)),
    "quick": RetrainingSettings(
        replace(fullsize.SETTINGS["quick"], epochs=2), apart=False, tasks=("made-up",), seeds=1
    ),
    "paper": RetrainingSettings(fullsize.SETTINGS["paper"], tasks=()),
}


def cells(settings: RetrainingSettings) -> list[Key]:
    return [
        {"task": task, "rank": rank, "seed": seed}
        for seed in range(settings.seeds)
        for rank in settings.ranks
        for task in settings.tasks
    ]
