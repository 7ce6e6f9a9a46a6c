"""The settings of the image experiments at three scales.

DESK is what two CPU cores can do with the emoji and the small base; QUICK draws its own pictures
and trains its own base in the cell, in about a minute; PAPER is the paper's set-up, for a GPU and a
network. PAPER has not been run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from experiments.cells import GRID, Key
from experiments.dampings import DAMPINGS
from experiments.images.sizes import TASKS, Pretraining, Sizes, Source, Steps, UNetSize

TIMESTEPS = (25, 225, 425, 625, 825, 925)
"""Where the paper's released code takes gradients."""


@dataclass(frozen=True)
class Tuning:
    """LoRA on the UNet's attention, with an alpha that equals the rank."""

    rank: int
    steps: Steps


@dataclass(frozen=True)
class ImageSettings:
    """What a cell needs to know beside its key.

    `base` is `bases:unet`, a pipeline's folder or id on the hub, or None: pretrained in the cell,
    as `pretraining` says. `data` is the folder of data sets, for emoji.
    """

    source: Source
    sizes: Sizes
    style: Tuning
    subject: Tuning
    base: str | None = None
    pretraining: Pretraining | None = None
    timesteps: tuple[int, ...] = TIMESTEPS
    dampings: tuple[str, ...] = DAMPINGS
    batch_tokens: int = 49_152
    sampling_steps: int = 25
    guidance: float = 3.0
    device: str = "cpu"
    tasks: tuple[str, ...] = field(default=TASKS, metadata=GRID)
    seeds: int = field(default=3, metadata=GRID)
    data: Path | None = field(default=None, metadata=GRID)

    def tuning(self, task: str) -> Tuning:
        return self.style if task.startswith("style") else self.subject


DESK = ImageSettings(
    source="emoji",
    sizes=Sizes(),
    base="bases:unet",
    style=Tuning(rank=1, steps=Steps(count=1200, batch=4, learning_rate=3e-3, warmup=50)),
    subject=Tuning(rank=4, steps=Steps(count=600, batch=4, learning_rate=3e-3, warmup=50)),
)

QUICK = ImageSettings(
    source="drawn",
    sizes=Sizes(style_train=12, style_queries=4, subjects=6, subject_queries=2),
    pretraining=Pretraining(
        size=UNetSize(pixels=16, channels=(16, 32)), scenes=300,
        steps=Steps(count=150, batch=16, learning_rate=3e-3, warmup=20),
    ),
    style=Tuning(rank=1, steps=Steps(count=120, batch=4, learning_rate=5e-3, warmup=10)),
    subject=Tuning(rank=4, steps=Steps(count=120, batch=4, learning_rate=5e-3, warmup=10)),
    tasks=("style", "subject"),
    seeds=1,
    dampings=DAMPINGS[::3],
    sampling_steps=10,
)  # fmt: skip

PAPER = ImageSettings(
    source="hub",
    sizes=Sizes(),
    base="stable-diffusion-v1-5/stable-diffusion-v1-5",
    style=Tuning(rank=1, steps=Steps(count=10_000, batch=4, learning_rate=1e-4)),
    subject=Tuning(rank=4, steps=Steps(count=10_000, batch=4, learning_rate=1e-4)),
    seeds=1,
    sampling_steps=50,
    guidance=7.5,
    device="cuda",
)

SETTINGS = {"desk": DESK, "quick": QUICK, "paper": PAPER}


def cells(settings: ImageSettings) -> list[Key]:
    """The keys of all cells, seed by seed, so that a run that is cut short has every task."""
    return [
        {"task": task, "seed": seed} for seed in range(settings.seeds) for task in settings.tasks
    ]
