"""Sizes of what is trained and asked about, for settings that are read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TASKS = ("style", "subject", "style-unnamed", "subject-unnamed")
Source = Literal["emoji", "drawn", "hub"]


@dataclass(frozen=True)
class Steps:
    """AdamW over `count` batches; the learning rate warms up, and falls by a cosine."""

    count: int
    batch: int
    learning_rate: float
    warmup: int = 0
    seed: int = 0


@dataclass(frozen=True)
class UNetSize:
    """Side of the images in pixels, squares of `fold` × `fold` of which go to one position;
    channels of each level."""

    pixels: int
    channels: tuple[int, ...]
    fold: int = 2


@dataclass(frozen=True)
class Pretraining:
    """A UNet of some size, trained on as many pictures; an exponential mean of its weights is
    what is kept."""

    size: UNetSize
    scenes: int
    steps: Steps
    mean_decay: float = 0.995
    seed: int = 0


@dataclass(frozen=True)
class Sizes:
    """How many pictures a task has. A subject has 1 to `queries` query pictures."""

    style_train: int = 200
    style_queries: int = 50
    subjects: int = 31
    subject_train: int = 3
    subject_queries: int = 3
