"""One example's stored loss and gradient against plain autograd on it alone, as the model is now.

The start-up check sees a handful of examples in one batch. This sees one example of a later
batch, the one with the most padding, and finds what only comes with other batches; and one of a
store that is already there, and finds what no fingerprint knows: an adapter's options that stand
in no tensor, the code behind a loss or a collator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from datainf.gradients.engine import PerExample
from datainf.gradients.precision import floor_of, is_half, tolerance_of
from datainf.gradients.reduction import reduced
from datainf.gradients.verify import error, one_alone
from datainf.store.encoding import ROUNDING, encode


def departure(
    gradients: PerExample,
    example: Any,
    loss: Tensor,
    found: Mapping[str, Tensor],
    dtype: torch.dtype,
) -> str | None:
    """What differs between the example alone and what was found for it; None if nothing does.

    Args:
        gradients: Whose model, parameters and task are asked.
        example: As the task takes it.
        loss: Its loss as found, a scalar.
        found: Block name → its gradient as found, [columns], float32 or better.
        dtype: What the gradients were stored as.
    """
    model = gradients.model
    truth = one_alone(model, gradients.chosen, gradients.task, example, gradients.device)
    tolerance = max(tolerance_of(model), ROUNDING.get(dtype, 0.0))
    if error(loss, truth.losses[0], floor=gradients.task.loss_floor) > tolerance:
        return f"its loss is {float(truth.losses[0]):.6g} when taken alone, not {float(loss):.6g}"
    right = {
        name: encode(rows.cpu(), dtype).decoded()[0]
        for name, rows in reduced(truth.gradients, gradients.reductions).items()
    }
    whole = torch.cat([gradient.double() for gradient in right.values()])
    if is_half(model):  # where a small block may be all rounding
        right = {"its gradient": whole}
        found = {"its gradient": torch.cat([gradient.double() for gradient in found.values()])}
    floor = floor_of(model) * float(whole.norm())
    for name, gradient in right.items():
        if (off := error(found[name], gradient, floor=floor)) > tolerance:
            return f"{name} differs by {off:.1e} of its norm from what it is when taken alone"
    return None
