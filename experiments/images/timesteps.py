"""One collection with the timesteps side by side → stores that average them, by any weights.

The gradient of an example's mean loss is Σ_t w_t g_t / K, of the K gradients that `aggregate=
"concatenate"` keeps; so the averages need no backward pass of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from datainf import GradientStore
from datainf.fingerprint import digest
from datainf.store import Index
from datainf.store.writer import writer


def timestep_norms(store: GradientStore, timesteps: int) -> Tensor:
    """‖g_t‖ of every example at every timestep, [n, K], of a store with timesteps side by side."""
    squares = torch.zeros((len(store), timesteps), dtype=torch.float64)
    for gradients in store.blocks.values():
        parts = gradients.to_dense().double().reshape(len(store), timesteps, -1)
        squares += parts.square().sum(dim=2)
    return squares.sqrt()


def averaged(store: GradientStore, weights: Sequence[float], out: Path) -> GradientStore:
    """A store of Σ_t w_t g_t / K, from one of the g_t side by side."""
    w = torch.tensor(weights, dtype=torch.float32) / len(weights)
    blocks = [replace(block, shape=block.shape[1:]) for block in store.index.blocks]
    about = {**store.index.task, "aggregate": "mean", "weighting": list(weights)}
    index = Index(
        n=len(store),
        dtype=store.index.dtype,
        blocks=blocks,
        fingerprints={**store.index.fingerprints, "task": digest(about)},
        shard_rows=len(store),
        task=about,
    )
    gradients = {
        name: torch.einsum("nkd,k->nd", side_by_side.to_dense().reshape(len(store), len(w), -1), w)
        for name, side_by_side in store.blocks.items()
    }
    with writer(out, index) as written:
        for rows in written.index.missing():
            part = {name: G[rows.start : rows.stop] for name, G in gradients.items()}
            written.append(
                part, store.ids[rows.start : rows.stop], store.losses[rows.start : rows.stop]
            )
    return GradientStore.open(out)
