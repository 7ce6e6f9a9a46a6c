"""Small gradient stores of given numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from datainf import GradientStore
from datainf.store import Block, Index
from datainf.store.writer import writer


def make_store(
    folder: Path, gradients: Mapping[str, Tensor], losses: Tensor | None = None
) -> GradientStore:
    """A store of float32 gradients [n, d_l] by block; a block's module is its name up to a dot."""
    n = len(next(iter(gradients.values())))
    blocks = [Block(k, (G.shape[1],), k.rpartition(".")[0]) for k, G in gradients.items()]
    fingerprints = dict.fromkeys(("base", "adapter", "data", "task"), "")
    with writer(folder, Index(n, "float32", blocks, fingerprints, shard_rows=n)) as store:
        store.append(gradients, list(range(n)), torch.zeros(n) if losses is None else losses)
    return GradientStore.open(folder)


def random_store(folder: Path, n: int, seed: int) -> GradientStore:
    """Of three blocks in two modules, of norms that differ from block to block."""
    draw = torch.Generator().manual_seed(seed)
    sizes = {"first.A": (5, 1.0), "first.B": (40, 0.1), "second.A": (7, 3.0)}
    return make_store(
        folder,
        {name: s * torch.randn((n, d), generator=draw) for name, (d, s) in sizes.items()},
        torch.rand(n, generator=draw),
    )
