"""What a store holds, and whether its gradients are what the methods assume.

The paper's theorem bounds DataInf's error for bounded gradients and a damping bounded below
(arXiv 2310.00902, theorem 1). `inspect` measures both on the store at hand, block by block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datainf import words
from datainf.linalg import Damping, GradientMatrix, from_dense
from datainf.store import GradientStore

QUANTILES = (0.05, 0.5, 0.95, 1.0)
OUTLIER = 10.0
"""A norm this many times the median's is an outlier."""
RANK_SAMPLE = 512
"""Rows from which the effective rank is estimated."""
THIN = 1e-3
"""λ below this share of the mean ‖g‖² is tiny beside it."""


@dataclass(frozen=True)
class BlockReport:
    """One block: its width, how many columns a stored row of it has (fewer where it is projected),
    λ, quantiles of ‖g_i‖ (5 %, 50 %, 95 %, largest), how many norms are outliers or zero, and the
    effective rank (Σ s)²/Σ s² of the eigenvalues s of a sample's Gram matrix (at most the sample's
    size)."""

    name: str
    width: int
    columns: int
    damping_lambda: float
    mean_sq_norm: float
    quantiles: tuple[float, ...]
    outliers: int
    zeros: int
    effective_rank: float


@dataclass(frozen=True)
class StoreReport:
    """All blocks, the rows with the largest whole gradients, and warnings in plain words."""

    blocks: list[BlockReport]
    largest: list[tuple[int | str, float]]
    warnings: list[str]


def inspect(store: GradientStore, damping: Damping = Damping()) -> StoreReport:  # noqa: B008
    """Norms, damping and effective rank of every block of a store, over the examples that were not
    skipped, as in scoring.

    Raises `NonFiniteError` if all were.
    """
    skipped, store = len(store.skipped), store.sound
    reports = [_block(name, G, damping) for name, G in store.blocks.items()]
    norms = store.sq_norms.double().sum(dim=1).sqrt()
    order = norms.argsort(descending=True)[:5]
    largest = [(store.ids[int(row)], float(norms[row])) for row in order]
    return StoreReport(reports, largest, _warnings(skipped, reports, norms))


def _block(name: str, G: GradientMatrix, damping: Damping) -> BlockReport:
    norms = G.sq_norms.double().sqrt()
    return BlockReport(
        name,
        G.parameters,
        G.shape[1],
        damping.lambda_of(G),
        float(norms.square().mean()),
        tuple(float(q) for q in torch.quantile(norms, torch.tensor(QUANTILES).double())),
        _outliers(norms),
        int((norms == 0).sum()),
        effective_rank(G),
    )


def effective_rank(G: GradientMatrix) -> float:
    """(tr K)²/tr(K²) of the Gram matrix K of evenly spaced rows; 0 where all are zero."""
    n = G.shape[0]
    step = max(1, -(-n // RANK_SAMPLE))
    sample = from_dense(torch.cat([G.rows(row, row + 1) for row in range(0, n, step)]))
    K = sample.to(torch.float64).gram()
    square = float(K.square().sum())
    return float(K.trace()) ** 2 / square if square > 0 else 0.0


def _outliers(norms: Tensor) -> int:
    return int((norms > OUTLIER * norms.median()).sum()) if norms.median() > 0 else 0


def _warnings(skipped: int, reports: list[BlockReport], norms: Tensor) -> list[str]:
    n, found = len(norms), []
    if skipped:
        found.append(
            f"{words.count(skipped, 'example')} of {n + skipped:,} had something that was not "
            "finite, and are not counted here"
        )
    if count := _outliers(norms):
        found.append(
            f"{count} of {n} gradients are over {OUTLIER:g} times the median norm. They dominate "
            "raw scores and λ; the theorem's bounded gradients do not hold. Look at the rows "
            "above, and use --normalize unit"
        )
    if zeros := [report.name for report in reports if report.zeros == n]:
        found.append(
            f"every gradient is zero in {words.count(len(zeros), 'block')}, for which nothing is "
            f"counted, e.g. {zeros[0]}"
        )
    thin = [r for r in reports if r.mean_sq_norm and r.damping_lambda < THIN * r.mean_sq_norm]
    if thin:
        found.append(
            f"λ is under {THIN:g} of the mean ‖g‖² in {len(thin)} of {len(reports)} blocks: there "
            "DataInf can be far from exact. Compare with cg or exact, or try --damping trace:0.02"
        )
    if wide := [report for report in reports if report.columns > n]:
        found.append(
            f"{len(wide)} of {len(reports)} blocks have more numbers a row than there are examples "
            f"({n}): in most directions the damping alone decides"
        )
    return found
