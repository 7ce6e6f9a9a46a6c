"""The fine-tunings of the study: five tasks, and variations of three of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["classification", "writing", "classes", "pictures"]


@dataclass(frozen=True)
class Recipe:
    """AdamW without weight decay; the learning rate warms up, and falls in a line to nothing.

    keep: the epochs after which weights and second moments are kept, in the training on all rows.
    """

    learning_rate: float
    epochs: int
    batch: int
    rank: int = 8
    alpha: int = 16
    warmup: float = 0.0
    adapter: str = "lora"
    keep: tuple[int, ...] = (1, 2, 4)


@dataclass(frozen=True)
class Settings:
    """A fine-tuning, its data, and how often it is done again.

    rows and queries: of classes and pictures, of each class. noise: the share of labels that are
    flipped. parts, seeds: random halves, and trainings on each; removal_seeds: of the trainings
    without what a method named.
    """

    kind: Kind
    data: str
    rows: int
    queries: int
    recipe: Recipe
    noise: float = 0.0
    parts: int = 50
    seeds: tuple[int, ...] = (1, 2)
    removal_seeds: tuple[int, ...] = (11, 12, 13)
    varies: str | None = None
    """The task that this is a variation of."""


SST2 = Settings("classification", "SST-2", 500, 100, Recipe(1e-3, 6, 16))
FLIPPED = replace(SST2, noise=0.2)
WRITING = Settings("writing", "alpaca", 240, 80, Recipe(5e-3, 6, 8))
SENTENCES = Settings("classes", "sentences", 30, 8, Recipe(5e-3, 4, 15, alpha=32, warmup=0.1))
EMOJI = Settings("pictures", "style", 50, 20, Recipe(3e-3, 10, 4, rank=4, alpha=4))

TASKS: dict[str, Settings] = {
    "SST-2 flipped": FLIPPED,
    "SST-2 clean": SST2,
    "writing styles": WRITING,
    "sentences": SENTENCES,
    "emoji styles": EMOJI,
}


def _varied(task: str, **recipe: object) -> Settings:
    made = TASKS[task]
    changed = replace(made.recipe, **recipe)  # type: ignore[arg-type]
    return replace(made, recipe=changed, parts=30, varies=task)


VARIATIONS: dict[str, Settings] = {
    "SST-2 flipped, 3 epochs": _varied("SST-2 flipped", epochs=3, keep=(1, 2)),
    "SST-2 flipped, 12 epochs": _varied("SST-2 flipped", epochs=12),
    "SST-2 flipped, n = 125": replace(FLIPPED, rows=125, parts=30, varies="SST-2 flipped"),
    "SST-2 flipped, n = 250": replace(FLIPPED, rows=250, parts=30, varies="SST-2 flipped"),
    "SST-2 flipped, n = 1,000": replace(FLIPPED, rows=1000, parts=30, varies="SST-2 flipped"),
    "SST-2 flipped, r = 1": _varied("SST-2 flipped", rank=1, alpha=2),
    "SST-2 flipped, r = 32": _varied("SST-2 flipped", rank=32, alpha=64),
    "SST-2 flipped, DoRA": _varied("SST-2 flipped", adapter="dora"),
    "MRPC flipped": replace(FLIPPED, data="MRPC", parts=30, varies="SST-2 flipped"),
    "writing styles, less trained": _varied("writing styles", learning_rate=5e-4),
    "writing styles, r = 1": _varied("writing styles", rank=1, alpha=2),
    "writing styles, r = 32": _varied("writing styles", rank=32, alpha=64),
}
SETTINGS = TASKS | VARIATIONS
