"""The settings of the image experiments at three scales.

DESK is what two CPU cores can do with the emoji and the small base; QUICK draws its own pictures
and trains its own base in the cell, in about a minute; PAPER is the paper's set-up, for a GPU and a
network. PAPER has not been run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from experiments.images.data import Source
from experiments.images.pretrain import BASE, Pretraining
from experiments.images.small_pipeline import UNetSize
from experiments.images.tasks import TASKS, Sizes
from experiments.images.training import Steps

TIMESTEPS = (25, 225, 425, 625, 825, 925)
"""Where the paper's released code takes gradients."""
ALPHAS = ("0.001", "0.01", "0.1", "1", "10", "100", "1000")
TRACES = tuple(f"trace:{alpha}" for alpha in ALPHAS)


@dataclass(frozen=True)
class Tuning:
    """LoRA on the UNet's attention, with an alpha that equals the rank."""

    rank: int
    steps: Steps


@dataclass(frozen=True)
class Settings:
    """What a cell needs to know beside its key.

    `base` is a folder with a small UNet, a pipeline's id on the hub, or None: pretrained in the
    cell, by `pretraining`. `data` is the folder of all data, where the source has one.
    """

    source: Source
    sizes: Sizes
    style: Tuning
    subject: Tuning
    base: str | None = None
    pretraining: Pretraining | None = None
    data: Path | None = None
    tasks: tuple[str, ...] = TASKS
    seeds: int = 3
    timesteps: tuple[int, ...] = TIMESTEPS
    batch_tokens: int = 49_152
    alphas: tuple[str, ...] = ALPHAS
    traces: tuple[str, ...] = TRACES
    sampling_steps: int = 25
    guidance: float = 3.0
    device: str = "cpu"

    def tuning(self, task: str) -> Tuning:
        return self.style if task.startswith("style") else self.subject


DESK = Settings(
    source="emoji",
    sizes=Sizes(),
    base=str(BASE),
    style=Tuning(rank=1, steps=Steps(count=1200, batch=4, learning_rate=2e-3, warmup=50)),
    subject=Tuning(rank=4, steps=Steps(count=800, batch=4, learning_rate=2e-3, warmup=50)),
)

QUICK = Settings(
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
    alphas=ALPHAS[::3],
    traces=TRACES[::3],
    sampling_steps=10,
)  # fmt: skip

PAPER = Settings(
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
