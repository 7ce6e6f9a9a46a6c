"""Batches that a collator padded on the left, as the examples alone would be.

A decoder with absolute positions counts them from the first column, padding or not, so an example
behind padding loses something else than alone. Moved to the left, it does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

ALIGNED = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
"""What runs along the input's tokens."""


def flushed(inputs: Mapping[str, Any], widths: Sequence[int], keys: Sequence[str]) -> Any:
    """The inputs with each row's padding on the left moved to its right, as far as the batch
    added it: a row as wide as `widths` says when it is alone keeps the padding that it has then.

    Only the entries named by `keys` move, those of shape [B, T].
    """
    mask = inputs["attention_mask"]
    total = mask.shape[1]
    added = torch.tensor([total - width for width in widths], device=mask.device).clamp(min=0)
    leading = (mask.cumsum(dim=1) == 0).sum(dim=1)
    shift = torch.where(leading >= added, added, 0)
    if not shift.any():
        return inputs
    columns = (torch.arange(total, device=mask.device) + shift[:, None]) % total
    return {
        key: value.gather(1, columns) if key in keys and _fits(value, mask) else value
        for key, value in inputs.items()
    }


def _fits(value: Any, mask: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == mask.shape
