"""How long gradients are: by timestep, and by block; the paper's theorem takes them as bounded."""

from __future__ import annotations

from typing import Any

import torch

from datainf import GradientStore
from experiments.images.timesteps import timestep_norms

QUANTILES = {"min": 0.0, "median": 0.5, "99%": 0.99, "max": 1.0}


def by_timestep(store: GradientStore, timesteps: tuple[int, ...]) -> dict[str, Any]:
    """Of a store with timesteps side by side: root mean square norms of the rows, by timestep."""
    norms = timestep_norms(store, len(timesteps))
    rms = norms.square().mean(dim=0).sqrt()
    return {str(t): float(norm) for t, norm in zip(timesteps, rms, strict=True)}


def by_block(store: GradientStore) -> dict[str, dict[str, float]]:
    """Block → quantiles and mean of the rows' norms, and its width."""
    found = {}
    for position, block in enumerate(store.index.blocks):
        norms = store.sq_norms[:, position].double().sqrt()
        summary = {name: float(torch.quantile(norms, q)) for name, q in QUANTILES.items()}
        found[block.name] = {**summary, "mean": float(norms.mean()), "width": block.width}
    return found
