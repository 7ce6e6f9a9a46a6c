"""The ways to score that every table compares.

A variant is a method with its options. Names in ledgers and tables are `datainf`,
`exact, model blocks`, `cg 2, unit`, …; plain means the paper's options: no normalisation, a block
a tensor, λ = 0.1 · mean ‖g‖² / d. Cosine similarity is `gradient, unit`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

import datainf
from datainf.views import Blocks, Normalize
from experiments.dampings import DAMPINGS

PAPER_DAMPING = "0.1"
TRACE_DAMPING = "trace:0.02"
"""λ = 0.02 · mean ‖g‖²: set against the whole squared norm and not against its mean entry."""


@dataclass(frozen=True)
class Variant:
    """A method with its options."""

    method: str
    steps: int | None = None
    normalize: Normalize = "none"
    blocks: Blocks = "tensor"
    damping: str = PAPER_DAMPING

    @property
    def name(self) -> str:
        parts = [self.method if self.steps is None else f"{self.method} {self.steps}"]
        if self.blocks != "tensor":
            parts.append(f"{self.blocks} blocks")
        if self.normalize != "none":
            parts.append(self.normalize)
        if self.damping != PAPER_DAMPING:
            parts.append(f"λ {self.damping}")
        return ", ".join(parts)

    def scores(self, train: datainf.GradientStore, query: datainf.GradientStore) -> Tensor:
        """[m, n], positive = helpful."""
        return datainf.attribute(
            train, query, self.method, damping=self.damping, normalize=self.normalize,
            blocks=self.blocks, steps=self.steps,
        ).values  # fmt: skip

    def self_influence(self, train: datainf.GradientStore) -> Tensor:
        """[n]."""
        return datainf.self_influence(
            train, self.method, damping=self.damping, normalize=self.normalize,
            blocks=self.blocks, steps=self.steps,
        )  # fmt: skip


Method = tuple[str, int | None]
"""A method's name and its steps, if it takes any."""

METHODS: tuple[Method, ...] = (
    ("gradient", None), ("weighted-gradient", None), ("datainf", None), ("lissa", 10), ("cg", 2),
    ("cg", 5), ("exact", None),
)  # fmt: skip
BY_BLOCKS: dict[Blocks, tuple[Method, ...]] = {
    "tensor": METHODS,
    "module": (("datainf", None), ("exact", None)),
    "model": (("datainf", None), ("cg", 5), ("exact", None)),
}
VARIANTS: tuple[Variant, ...] = tuple(
    Variant(method, steps, normalize, blocks)
    for normalize in ("none", "unit")
    for blocks, methods in BY_BLOCKS.items()
    for method, steps in methods
) + tuple(
    Variant(method, steps, "unit", "model", TRACE_DAMPING)
    for method, steps in (("datainf", None), ("cg", 3), ("exact", None))
)
"""Every method with and without unit normalisation, in the three kinds of block where that changes
more than a weight a block, and the damping that was best at foretelling what retraining does."""

SELF_INFLUENCE: tuple[Variant, ...] = tuple(
    variant
    for variant in VARIANTS
    if variant.blocks != "module"
    and (variant.method == "exact" or (variant.method, variant.blocks) == ("datainf", "tensor")
         or variant.method in ("gradient", "weighted-gradient"))
    and (variant.method, variant.normalize) != ("gradient", "unit")
)  # fmt: skip
"""Those with a closed form: an iterative solve for every training example would cost n of them. A
row's cosine with itself is 1 for all."""

SWEEP = (("datainf", None), ("cg", 5), ("exact", None))
"""The methods of the damping sweep."""


def timed(
    variants: Sequence[Variant], train: datainf.GradientStore, query: datainf.GradientStore
) -> Iterator[tuple[Variant, Tensor, float]]:
    """Each variant's scores [m, n] with the seconds that they took, final products counted."""
    for variant in variants:
        started = time.perf_counter()
        values = variant.scores(train, query)
        yield variant, values, time.perf_counter() - started


def swept(
    train: datainf.GradientStore, query: datainf.GradientStore, dampings: Sequence[str] = DAMPINGS
) -> Iterator[tuple[str, str, Tensor]]:
    """(method, damping, scores [m, n]) for every method of the sweep and every damping."""
    for method, steps in SWEEP:
        found = datainf.sweep(train, query, method, dampings=list(dampings), steps=steps)
        for damping, scores in zip(dampings, found, strict=True):
            yield Variant(method, steps).name, damping, scores.values
