"""DataInf: the inverse of the mean swapped for the mean of the inverses.

Kwon, Wu, Wu, Zou, "DataInf" (ICLR 2024, arXiv 2310.00902), equation 5. With Sherman-Morrison,

    (1/n) Σ_i (g_i g_iᵀ + λI)⁻¹ v = (v − (1/n) Σ_i (v·g_i)/(λ + ‖g_i‖²) g_i) / λ.

For all queries at once, with w_i = 1/(λ + ‖g_i‖²), these are three thin products in two passes
over the rows: R = (V − V Gᵀ diag(w) G/n)/λ in one, scores = R Gᵀ in the other. It equals the exact
inverse when all g_i are the same, and is furthest off when they are orthogonal; as an operator it
is never below the exact inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from datainf.estimators.base import Estimator, Fitted, Solution
from datainf.linalg import GradientMatrix


@dataclass(frozen=True)
class DataInf(Estimator):
    """The paper's closed form; O(n d) a query and a block."""

    name: ClassVar[str] = "datainf"

    def fit(self, G: GradientMatrix) -> Fitted:
        return _Fitted(G)


class _Fitted(Fitted):
    def solve(self, V: Tensor, lam: float) -> Solution:
        n = self.G.shape[0]
        image = self.G.normal_matmul(V.T, 1 / (lam + self.G.sq_norms))
        return Solution((V - image.T / n) / lam)
