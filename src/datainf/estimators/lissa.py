"""LiSSA: a truncated Neumann series, scaled so that it converges.

Agarwal, Bullins, Hazan, "Second-order stochastic optimization for machine learning in linear
time" (JMLR 2017); Koh and Liang (ICML 2017), here with full batches. From r = v,

    r ← v + r − s F r,      F = GᵀG/n + λI,      s ≤ 1/λ_max(F),

and s r tends to F⁻¹v. λ_max is found by power iteration. The reference code released with the
DataInf paper subtracts the damping instead of adding it and does not scale; that recursion is
not LiSSA and is not offered. Convergence takes on the order of λ_max/λ steps, so a few steps on
an ill-conditioned block stay far from the solution: the residual says how far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from datainf.errors import OptionError
from datainf.estimators.base import (
    Estimator,
    Fitted,
    Solution,
    curvature_product,
    relative_residual,
)
from datainf.linalg import GradientMatrix

POWER_STEPS = 20
POWER_SLACK = 1.05
"""Power iteration comes from below; the series converges while s < 2/λ_max."""


@dataclass(frozen=True)
class LiSSA(Estimator):
    """`steps` terms of the series; two thin products a step."""

    steps: int = 10
    name: ClassVar[str] = "lissa"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise OptionError(
                f"lissa needs at least one step, got {self.steps}", remedy="--steps 10"
            )

    def fit(self, G: GradientMatrix) -> _Fitted:
        return _Fitted(G, self.steps)


class _Fitted(Fitted):
    def __init__(self, G: GradientMatrix, steps: int) -> None:
        super().__init__(G)
        self.steps = steps
        self.top_eigenvalue = _top_eigenvalue(G)

    def solve(self, V: Tensor, lam: float) -> Solution:
        s = 1 / (self.top_eigenvalue + lam)
        B = V.T
        R = B
        for _ in range(self.steps):
            R = B + R - s * curvature_product(self.G, lam, R)
        solved = (s * R).T
        residual = relative_residual(self.G, lam, V, solved)
        return Solution(solved, float(residual.max()) if len(residual) else 0.0)


def _top_eigenvalue(G: GradientMatrix) -> float:
    """An upper estimate of λ_max(GᵀG/n), never above its trace."""
    n = G.shape[0]
    trace = float(G.sq_norms.double().mean())
    if trace == 0:
        return 0.0
    # From a weighted sum of the rows, so that the start lies in their span; seeded, so that a
    # second run gives the same scores.
    weights = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=G.dtype)
    x = G.T @ weights
    for _ in range(POWER_STEPS):
        x = G.normal_matmul(x / x.norm()) / n
    return min(trace, POWER_SLACK * float(x.norm()))
