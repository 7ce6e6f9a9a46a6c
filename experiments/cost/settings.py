"""What decides the runtimes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments import glue
from experiments.cells import GRID, Key
from experiments.glue.settings import GlueSettings


@dataclass(frozen=True)
class RuntimeSettings:
    """How the gradients are made, and how long it may take to time what is done with them.

    loop_rows: training rows whose gradients are taken one at a time, for the time.
    exact_seconds: about how long the released loop for `exact` may run; see `exact_loop`.
    """

    glue: GlueSettings
    loop_rows: int
    exact_seconds: float
    rounds: int = 3
    once_above: float = 20.0
    tasks: tuple[str, ...] = field(default=("QQP",), metadata=GRID)
    points: tuple[int, ...] = field(default=(4500,), metadata=GRID)
    ranks: tuple[int, ...] = field(default=(4,), metadata=GRID)
    data: Path | None = field(default=None, metadata=GRID)


SETTINGS = {
    "paper": RuntimeSettings(
        glue.SETTINGS["paper"], loop_rows=500, exact_seconds=3 * 3600.0,
        tasks=("QQP", "SST-2", "MRPC", "WNLI"),
    ),
    # Of one epoch: times do not hang on how good the model is.
    "desk": RuntimeSettings(
        replace(glue.SETTINGS["desk"], validation_rows=500, test_rows=0, epochs=1),
        loop_rows=1000, exact_seconds=200.0,
    ),
    "quick": RuntimeSettings(
        replace(glue.SETTINGS["quick"], validation_rows=50, test_rows=0, epochs=1),
        loop_rows=50, exact_seconds=5.0, tasks=("made-up",), points=(200,), ranks=(1,),
    ),
}  # fmt: skip


def cells(settings: RuntimeSettings) -> list[Key]:
    return [
        {"task": task, "n": n, "rank": rank}
        for task in settings.tasks
        for n in settings.points
        for rank in settings.ranks
    ]
