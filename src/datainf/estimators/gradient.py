"""Gradient dot products: curvature left out.

`gradient` puts v for F⁻¹v ("Hessian-free"; TracIn at one checkpoint, Pruthi et al., NeurIPS
2020). `weighted-gradient` puts v/λ_l, the limit of every other method for large damping: set
beside `gradient` it shows what weighting the layers does, and set beside `datainf` what
curvature adds to that. With unit normalisation `gradient` is cosine similarity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from datainf.estimators.base import BlockScores, Estimator, Fitted, Solution
from datainf.linalg import GradientMatrix


@dataclass(frozen=True)
class Gradient(Estimator):
    """v_q · g_k."""

    name: ClassVar[str] = "gradient"
    has_curvature: ClassVar[bool] = False

    def fit(self, G: GradientMatrix) -> Fitted:
        return _Plain(G)


@dataclass(frozen=True)
class WeightedGradient(Estimator):
    """v_q · g_k / λ_l."""

    name: ClassVar[str] = "weighted-gradient"
    has_curvature: ClassVar[bool] = False

    def fit(self, G: GradientMatrix) -> Fitted:
        return _Weighted(G)


class _Plain(Fitted):
    def solve(self, V: Tensor, lam: float) -> Solution:  # noqa: ARG002 - one signature for all
        return Solution(V)

    def self_influence(self, lam: float, G: GradientMatrix | None = None) -> BlockScores:  # noqa: ARG002
        return BlockScores((self.G if G is None else G).sq_norms)


class _Weighted(Fitted):
    def solve(self, V: Tensor, lam: float) -> Solution:
        return Solution(V / lam)

    def self_influence(self, lam: float, G: GradientMatrix | None = None) -> BlockScores:
        return BlockScores((self.G if G is None else G).sq_norms / lam)
