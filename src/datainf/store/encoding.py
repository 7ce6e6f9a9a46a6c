"""How rows of gradients are stored: float64, float32, bfloat16, float16, or int8 with scales.

int8 has a scale for each row of each block, s = max_j |g_j| / 127, and stores round(g_j / s): an
error of at most s/2 an entry.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datainf.errors import OptionError
from datainf.linalg import accumulate_dtype

LARGEST = 127
DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name) for name in ("float32", "bfloat16", "int8", "float16", "float64")
}
"""What a store's index may name."""
ROUNDING = {torch.bfloat16: 0.005, torch.float16: 0.001, torch.int8: 0.02}
"""By how much of its norm a stored row may differ from another that was the same but for rounding
in the last place of float32: a number near the middle of two steps goes to either."""


@dataclass(frozen=True)
class Encoded:
    """Rows of one block as stored, [rows, columns], and what each is multiplied by, [rows] float32;
    None where that is 1."""

    stored: Tensor
    scale: Tensor | None = None

    def decoded(self) -> Tensor:
        """The rows as numbers to compute with, [rows, columns], float32 or better."""
        rows = self.stored.to(accumulate_dtype(self.stored.dtype))
        return rows if self.scale is None else rows * self.scale[:, None]

    def sq_norms(self) -> Tensor:
        """‖g_i‖² of the rows as stored, [rows], float64, so that every product sees the same
        numbers. Not finite where an entry was not."""
        stored = self.stored if self.stored.is_floating_point() else self.stored.float()
        squares: Tensor = torch.linalg.vector_norm(stored, dim=1, dtype=torch.float64).square()
        if self.scale is not None:
            squares *= self.scale.double().square()
        return squares


def encode(rows: Tensor, dtype: torch.dtype) -> Encoded:
    """Rows [rows, columns], float32 or better, as `dtype` has them."""
    if dtype != torch.int8:
        return Encoded(rows.to(dtype))
    scale = rows.abs().amax(dim=1) / LARGEST
    divisor = torch.where(scale > 0, scale, 1)
    return Encoded((rows / divisor[:, None]).round().to(torch.int8), scale.float())


def stored_dtype(name: str | torch.dtype) -> torch.dtype:
    """From "float32", "bfloat16", "int8" and so on.

    Raises `OptionError` for a dtype that gradients are not stored in.
    """
    name = str(name).removeprefix("torch.")
    if name not in DTYPES:
        raise OptionError(
            f"gradients are not stored as {name!r}", remedy=f"one of {', '.join(DTYPES)}"
        )
    return DTYPES[name]
