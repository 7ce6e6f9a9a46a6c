"""The influence function with the Gauss–Newton matrix of the whole model for its curvature.

    score(q, k) = v_qᵀ (H + λI)⁻¹ g_k

with H = SᵀS/N estimated from N gradients S [N, d] of targets that the model draws, see
`datainf.collect_curvature`. The training gradients' own second moment, which other methods take
for H, is another matrix: it weighs an example by how wrong the model is about it, and counts the
errors of one text's tokens, which have a cause in common, as one (Kunstner, Hennig, Balles,
"Limitations of the empirical Fisher approximation", NeurIPS 2019). Given the training gradients in
the place of S this method is `exact` in float32.

By Woodbury, with c = Nλ,

    V (H + λI)⁻¹ = (V − V Sᵀ (S Sᵀ + cI)⁻¹ S) / λ,

one N×N Gram matrix, factored once, and three thin products; the d×d matrix is factored where
d ≤ N. Products are in the precision of the rows, the factorisation in float64.

What makes the method are the options that it brings: Adam's metric, the queries' gradients scaled
to norm 1 and all others divided by the square root of theirs, one block for the whole model, and
the damping of the training's learning rates. docs/gauss-newton.md derives it and says what it was
tested on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from datainf.estimators.base import Defaults, Estimator, Fitted, Solution
from datainf.estimators.exact import ShiftedInverse
from datainf.linalg import GradientMatrix


@dataclass(frozen=True)
class GaussNewton(Estimator):
    """A whole solve; O(N² d) once for every query and damping. Solving raises `OptionError` for a
    damping that float64 cannot tell from none."""

    name: ClassVar[str] = "gauss-newton"
    defaults: ClassVar[Defaults] = Defaults("flow", "root", "auto", "model")
    needs_curvature: ClassVar[bool] = True

    def fit(self, G: GradientMatrix) -> Fitted:
        N, d = G.shape
        return _Primal(G) if d <= N else _Dual(G)


class _Primal(Fitted):
    """d ≤ N."""

    def __init__(self, S: GradientMatrix) -> None:
        super().__init__(S)
        self.inverse = ShiftedInverse(S.second_moment().double() / S.shape[0])

    def solve(self, V: Tensor, lam: float) -> Solution:
        return Solution(self.inverse.right_divide(V.double(), lam).to(V.dtype))


class _Dual(Fitted):
    """d > N."""

    def __init__(self, S: GradientMatrix) -> None:
        super().__init__(S)
        self.inverse = ShiftedInverse(S.gram().double())

    def solve(self, V: Tensor, lam: float) -> Solution:
        S = self.G
        C = (S @ V.T).T.double()
        W = self.inverse.right_divide(C, S.shape[0] * lam).to(S.dtype)
        return Solution((V - (S.T @ W.T).T) / lam)
