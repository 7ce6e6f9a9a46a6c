"""What attribution has to beat, from a store alone: chance, the example's own loss, its norm.

The last two say the same for every query: a large loss or gradient is taken for harmful.
"""

from __future__ import annotations

import torch
from torch import Tensor

from datainf.store import GradientStore


def store_baselines(train: GradientStore, m: int, *, seed: int = 0) -> dict[str, Tensor]:
    """name → scores [m, n], positive = helpful."""
    n = len(train)
    norms = torch.stack([G.sq_norms.double() for G in train.blocks.values()]).sum(dim=0).sqrt()
    return {
        "own loss": -train.losses.double().nan_to_num(torch.inf).expand(m, n),
        "gradient norm": -norms.expand(m, n),
        "chance": torch.rand((m, n), generator=torch.Generator().manual_seed(seed)),
    }
