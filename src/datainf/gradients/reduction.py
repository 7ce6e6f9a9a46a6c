"""What becomes of a block's gradients before they are stored: multiplied by a metric, projected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from datainf.errors import OptionError
from datainf.projection import Projection, Sketch, TwoSided
from datainf.second_moments import metric_scale
from datainf.store import Block


@dataclass(frozen=True)
class Reduction:
    """scale ∘ g and then the sketch of it, either of which may be left out."""

    sketch: Sketch | None
    scale: Tensor | None = None  # [d]

    def __call__(self, rows: Tensor) -> Tensor:
        """Rows [B, d] → [B, columns]."""
        if self.scale is not None:
            rows = rows * self.scale.to(rows)
        return rows if self.sketch is None else self.sketch(rows)

    def adjoint(self, rows: Tensor) -> Tensor:
        """Rows [B, columns] → [B, d]: what a gradient as it was is multiplied by for the inner
        product of these with it as it is stored."""
        rows = rows if self.sketch is None else self.sketch.adjoint(rows)
        return rows if self.scale is None else rows * self.scale.to(rows)

    @property
    def sides(self) -> TwoSided | None:
        """The projection of a matrix's two sides, where the product need not be formed first."""
        sketch = self.sketch
        return sketch if isinstance(sketch, TwoSided) and self.scale is None else None


Reductions = Mapping[str, Reduction]
"""By block, of those that are not stored as they are."""


def reductions_of(
    projection: Projection | None, blocks: Sequence[Block], moments: Mapping[str, Tensor] | None,
    device: torch.device,
) -> dict[str, Reduction]:  # fmt: skip
    """What a store's projection does to each block. `moments` are Adam's v̂ by block, for a
    projection in their metric; `device` is where the gradients come from."""
    if projection is None:
        return {}
    adam = moments if projection.metric == "adam" else None
    if adam is None and projection.metric == "adam":
        raise OptionError(
            "a projection in Adam's metric needs Adam's second moments",
            remedy="collect from a checkpoint that holds optimizer.pt; or the metric none",
        )
    found = {}
    for block in blocks:
        scale = None if adam is None else metric_scale(adam[block.name]).to(device)
        sketch = projection.of(block.name, block.shape)
        if sketch is not None or scale is not None:
            found[block.name] = Reduction(sketch, scale)
    return found


def projected(block: Block, projection: Projection) -> Block:
    """The block with as many numbers a row as the projection keeps."""
    sketch = projection.of(block.name, block.shape)
    return block if sketch is None else replace(block, kept=sketch.columns)


def reduced(gradients: Mapping[str, Tensor], reductions: Reductions) -> dict[str, Tensor]:
    """Gradients [B, d] by block, as they are stored."""
    return {n: reductions[n](g) if n in reductions else g for n, g in gradients.items()}
