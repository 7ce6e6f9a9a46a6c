"""What decides the comparison of adapters.

The desk's learning rates are LoRA's of the runs on GLUE, DoRA's the same, and the best of two or
three each for the others, by accuracy on clean test rows after training on noisy ones with a seed
that is not among the study's; what was tried has not been kept. At paper scale LoRA's is the
paper's; the others are of the size that is usual for them, and have not been tried here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments import glue
from experiments.cells import GRID, Key
from experiments.glue.settings import GlueSettings

ADAPTERS = ("LoRA", "DoRA", "IA³", "prefix tuning", "bottleneck")


@dataclass(frozen=True)
class AdapterSettings:
    """`glue` says all but the learning rate, which is each adapter's own."""

    glue: GlueSettings
    learning_rates: dict[str, float]
    rank: int = 4
    """Of LoRA and DoRA."""
    virtual_tokens: int = 10
    """Of prefix tuning."""
    bottleneck: int = 4
    """Width of the bottlenecks, of which each layer has two."""
    adapters: tuple[str, ...] = field(default=ADAPTERS, metadata=GRID)
    tasks: tuple[str, ...] = field(default=("SST-2", "QQP"), metadata=GRID)
    seeds: int = field(default=3, metadata=GRID)
    data: Path | None = field(default=None, metadata=GRID)


PAPER = AdapterSettings(
    replace(glue.SETTINGS["paper"], released_blocks=False),
    {"LoRA": 3e-4, "DoRA": 3e-4, "IA³": 3e-3, "prefix tuning": 5e-3, "bottleneck": 3e-4},
    rank=8, virtual_tokens=20, bottleneck=16,
)  # fmt: skip
DESK = AdapterSettings(
    glue.SETTINGS["desk"],
    {"LoRA": 3e-3, "DoRA": 3e-3, "IA³": 1e-2, "prefix tuning": 1e-2, "bottleneck": 1e-3},
)
QUICK = replace(
    DESK, glue=replace(glue.SETTINGS["quick"], train_rows=60), tasks=("made-up",), seeds=1
)
SETTINGS = {"desk": DESK, "quick": QUICK, "paper": PAPER}


def cells(settings: AdapterSettings) -> list[Key]:
    return [
        {"adapter": adapter, "task": task, "seed": seed}
        for seed in range(settings.seeds)
        for task in settings.tasks
        for adapter in settings.adapters
    ]
