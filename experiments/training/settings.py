"""What decides the looks at gradients during a fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments import glue
from experiments.cells import GRID, Key
from experiments.glue.settings import GlueSettings


@dataclass(frozen=True)
class TrainingSettings:
    """A run on GLUE, and after which of its epochs to look; 0 is before the first."""

    glue: GlueSettings
    epochs: tuple[int, ...]
    rank: int = 4
    tasks: tuple[str, ...] = field(default=("SST-2", "QQP", "MRPC"), metadata=GRID)
    seeds: int = field(default=2, metadata=GRID)
    data: Path | None = field(default=None, metadata=GRID)


PAPER = TrainingSettings(glue.SETTINGS["paper"], (0, 1, 2, 4, 10), seeds=5)
DESK = TrainingSettings(glue.SETTINGS["desk"], (0, 1, 2, 4, 8))
QUICK = TrainingSettings(
    replace(glue.SETTINGS["quick"], train_rows=60), (0, 1, 4), tasks=("made-up",), seeds=1
)
SETTINGS = {"desk": DESK, "quick": QUICK, "paper": PAPER}


def cells(settings: TrainingSettings) -> list[Key]:
    return [
        {"task": task, "seed": seed} for seed in range(settings.seeds) for task in settings.tasks
    ]
