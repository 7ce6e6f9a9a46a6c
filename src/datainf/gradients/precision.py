"""What a model's arithmetic rounds away: what two orders of one sum may differ by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

TOLERANCE = {
    torch.float64: 1e-8,
    torch.float32: 1e-3,
    torch.bfloat16: 0.2,
    torch.float16: 0.05,
    torch.int8: 0.2,
}
"""Relative to a block's gradient norm. Wide enough for another order of summation in the model's
dtype, far too narrow for a missed term, a mixed-up row or a padding token. Modules with int8
weights round their inputs too, to steps that hang on the rest of the batch (LLM.int8's outliers).
"""

FLOOR = {torch.bfloat16: 0.02, torch.float16: 0.01, torch.int8: 0.02}
"""Relative to an example's whole gradient: a block that is less is judged by this scale, not its
own. TOLERANCE times FLOOR is half a unit in the last place of the dtype, so what goes unseen in
a small block is less than what the rounding of each number alone may change. A key's bias, say,
has no gradient at all, and whatever two orders of one sum give for it has nothing in common.
"""
ROUNDING = 1e-3
"""The tolerance of other dtypes, such as packed weights, whose modules compute in another one."""
SMALLEST = 1e-4
"""The floor of other dtypes."""

LOSS_SCALES = (2.0**12, 2.0**6, 1.0)
"""Tried in this order for a float16 model: gradients that are too small for float16 are lifted
into its range, exactly, since these are powers of two; one that overflows is tried lower."""


def dtypes_of(model: nn.Module) -> set[torch.dtype]:
    """What a model computes in: its parameters' dtypes, and those that modules with packed weights
    say they unpack to, as bitsandbytes does, whatever the other parameters are."""
    found = {parameter.dtype for parameter in model.parameters()}
    for module in model.modules():
        said: Any = getattr(module, "compute_dtype", None)
        if isinstance(said, torch.dtype):
            found.add(said)
    return found


def tolerance_of(model: nn.Module) -> float:
    """That of the coarsest dtype."""
    return max((TOLERANCE.get(dtype, ROUNDING) for dtype in dtypes_of(model)), default=ROUNDING)


def floor_of(model: nn.Module) -> float:
    """That of the coarsest dtype."""
    return max((FLOOR.get(dtype, SMALLEST) for dtype in dtypes_of(model)), default=SMALLEST)


def is_half(model: nn.Module) -> bool:
    """Whether anything is computed in 16 bits or fewer, whose rounding shows."""
    return bool(dtypes_of(model) & FLOOR.keys())


def loss_scales(model: nn.Module) -> tuple[float, ...]:
    """What to multiply the loss by, to be tried in this order; only float16 needs any."""
    return LOSS_SCALES if torch.float16 in dtypes_of(model) else (1.0,)


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether every entry of these is; the program waits for their device once, not for each."""
    found = [torch.isfinite(tensor).all() for tensor in tensors]
    return not found or bool(torch.stack([one.to(found[0].device) for one in found]).all())
