"""What decides the study of how error and cost grow."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments import glue
from experiments.cells import GRID, Key
from experiments.glue.settings import GlueSettings

SYNTHETIC = ("isotropic", "decaying")


@dataclass(frozen=True)
class ScalingSettings:
    """decay: the variance along the k-th direction of a decaying spectrum is k^-decay.
    entries, norm: λ, with gradients of mean squared entry or of mean squared norm 1."""

    ns: tuple[int, ...]
    ds: tuple[int, ...]
    glue: GlueSettings
    """Of the runs that real gradients come from; `ns` and `ds` are cut out of them."""
    entries: tuple[float, ...] = (0.1, 10.0, 1e3, 1e5)
    norm: tuple[float, ...] = (0.01, 1.0)
    decay: float = 1.5
    rounds: int = 5
    once_above: float = 5.0
    seeds: int = field(default=3, metadata=GRID)
    one_seed_above: int = field(default=2**24, metadata=GRID)
    """Blocks with more entries n·d are drawn once."""
    tasks: tuple[str, ...] = field(default=("QQP",), metadata=GRID)
    ranks: tuple[int, ...] = field(default=(1, 4), metadata=GRID)
    """Of the runs that real gradients come from."""
    data: Path | None = field(default=None, metadata=GRID)


NS, DS = (64, 256, 1024, 4096), (32, 128, 512, 2048, 8192)
SETTINGS = {
    "paper": ScalingSettings(NS, DS, replace(glue.SETTINGS["paper"], test_rows=0), seeds=5),
    "desk": ScalingSettings(
        NS, DS,
        replace(
            glue.SETTINGS["desk"], train_rows=4096, test_rows=0, epochs=2, released_blocks=True
        ),
    ),
    "quick": ScalingSettings(
        (64, 256), (32, 128, 512),
        replace(glue.SETTINGS["quick"], train_rows=256, test_rows=0, released_blocks=True),
        seeds=1, tasks=("made-up",),
    ),
}  # fmt: skip


def cells(settings: ScalingSettings) -> list[Key]:
    made = [
        {"gradients": kind, "n": n, "d": d, "seed": seed}
        for seed in range(settings.seeds)
        for kind in SYNTHETIC
        for n in settings.ns
        for d in settings.ds
        if seed == 0 or n * d <= settings.one_seed_above
    ]
    real = [
        {"gradients": task, "rank": rank, "seed": 0}
        for task in settings.tasks
        for rank in settings.ranks
    ]
    return [*made, *real]
