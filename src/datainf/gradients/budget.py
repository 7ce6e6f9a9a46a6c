"""How many tokens a batch may have, found by a short probe.

More tokens a batch keep a device busier, until it is; on CPUs, after that, a batch leaves the
caches and is slower again, by a third where examples are short. So a device has a number of tokens
at which it is busy, and memory may allow fewer: the probe counts what one batch keeps for its
backward pass. It counts and does not time, so that the same command makes the same batches.
"""

from __future__ import annotations

import torch

from datainf.memory import available_each

BUSY = {"cpu": 512, "cuda": 16384}
"""Tokens of a batch that keep a CPU's core busy, or a GPU."""
FEWEST, MOST = 1024, 8192
"""Bounds on the tokens of a batch on a CPU, whose cores share it."""
SHARE = 0.4
"""Of the memory there is, for what a batch keeps; the backward pass needs some beside."""


def token_budget(device: torch.device, kept_bytes: int, tokens: int) -> int:
    """Tokens a batch, a power of two.

    Args:
        device: Where the model is.
        kept_bytes: What a batch of `tokens`, padding counted, kept for its backward pass.
    """
    busy = BUSY.get(device.type, BUSY["cpu"])
    if device.type == "cpu":
        busy = min(MOST, max(FEWEST, busy * torch.get_num_threads()))
    if kept_bytes == 0:
        return busy
    fitting = int(SHARE * available_each(device) * tokens / kept_bytes)
    return max(1, min(busy, 1 << (max(1, fitting).bit_length() - 1)))
