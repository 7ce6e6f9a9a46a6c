"""Gradient stores of random numbers, of any size, with no model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from datainf import GradientStore
from datainf.store import Block, Index
from datainf.store.writer import writer

COMMON = 0.3
"""How much of every gradient is one direction: those of a model have some in common."""


def make(out: Path, n: int, widths: Mapping[str, int], seed: int, rows: int = 500) -> GradientStore:
    """n rows of float32 normal gradients a block, in shards of so many rows."""
    blocks = [Block(name, (width,), name) for name, width in widths.items()]
    known = dict.fromkeys(("base", "adapter", "data", "task"), "")
    draw = torch.Generator().manual_seed(seed)
    together = {
        name: COMMON * torch.randn(width, generator=torch.Generator().manual_seed(0))
        for name, width in widths.items()
    }
    with writer(out, Index(n, "float32", blocks, known, shard_rows=rows)) as store:
        for part in store.missing():
            gradients = {
                name: together[name] + torch.randn((len(part), width), generator=draw)
                for name, width in widths.items()
            }
            store.append(gradients, list(part), torch.zeros(len(part)))
    return GradientStore.open(out)
