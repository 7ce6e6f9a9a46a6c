"""Gradient stores of random numbers, of any size, with no model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from datainf import GradientStore
from datainf.gradients.reduction import projected
from datainf.projection import Projection
from datainf.store import Block, Index
from datainf.store.writer import writer

COMMON = 0.3
"""How much of every gradient is one direction: those of a model have some in common."""


def make(
    out: Path, n: int, widths: Mapping[str, int], seed: int, rows: int = 500, *,
    dtype: str = "float32", ratio: int | None = None, device: str | torch.device = "cpu",
) -> GradientStore:  # fmt: skip
    """n rows of normal gradients a block, in shards of so many rows; with a ratio as many numbers a
    row as a projection keeps."""
    blocks = [Block(name, (width,), name) for name, width in widths.items()]
    if ratio is not None:
        blocks = [projected(block, Projection(ratio)) for block in blocks]
    known = dict.fromkeys(("base", "adapter", "data", "task"), "")
    index = Index(n, dtype, blocks, known, shard_rows=rows)
    index.projection = None if ratio is None else Projection(ratio).to_json()
    draw = torch.Generator(device).manual_seed(seed)
    common = torch.Generator(device)
    together = {
        block.name: COMMON
        * torch.randn(block.columns, generator=common.manual_seed(0), device=device)
        for block in blocks
    }
    with writer(out, index) as store:
        for part in store.index.missing():
            gradients = {
                name: of_all + torch.randn((len(part), len(of_all)), generator=draw, device=device)
                for name, of_all in together.items()
            }
            store.append(gradients, list(part), torch.zeros(len(part), device=device))
    return GradientStore.open(out)
