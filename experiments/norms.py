"""Are the gradients bounded, as the paper's theorem takes for granted? Norms, block by block."""

from __future__ import annotations

import torch

import datainf

QUANTILES = {"min": 0.0, "q01": 0.01, "median": 0.5, "q99": 0.99, "max": 1.0}


def norms(store: datainf.GradientStore) -> dict[str, dict[str, float]]:
    """Quantiles, mean, and share of the squared norm that the largest hundredth of examples has
    (0 where all are zero), of ‖g_i‖ over all blocks (`all`) and of each block."""
    squares = store.sq_norms.double()
    columns = {"all": squares.sum(dim=1)}
    columns |= {block.name: squares[:, i] for i, block in enumerate(store.index.blocks)}
    return {name: _summary(column) for name, column in columns.items()}


def _summary(squares: torch.Tensor) -> dict[str, float]:
    norm = squares.sqrt()
    top = squares.sort(descending=True).values[: max(1, len(squares) // 100)]
    found = {name: float(norm.quantile(q)) for name, q in QUANTILES.items()}
    share = float(top.sum() / squares.sum()) if squares.any() else 0.0
    return found | {"mean": float(norm.mean()), "top_share": share}
