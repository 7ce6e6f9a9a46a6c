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
d ≤ N. Products are in the precision of the rows, the factorisation in float64; where a
damping is so small that it would drown in the products' rounding, all is in float64, as in `exact`.

What makes the method are the options that it brings: Adam's metric, the queries' gradients scaled
to norm 1 and all others divided by the square root of theirs, one block for the whole model, and
the damping of the training's learning rates. docs/gauss-newton.md derives it and says what it was
tested on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from datainf.estimators.base import Defaults, Estimator, Fitted, Solution
from datainf.estimators.exact import damped_inverse
from datainf.linalg import GradientMatrix

ROUNDED = 100
"""A damping below so many times the rounding of the rows' products is solved for in float64."""


@dataclass(frozen=True)
class GaussNewton(Estimator):
    """A whole solve; O(N² d) once for every query and damping. Solving raises `OptionError` for a
    damping that float64 cannot tell from none."""

    name: ClassVar[str] = "gauss-newton"
    defaults: ClassVar[Defaults] = Defaults("flow", "root", "auto", "model")
    needs_curvature: ClassVar[bool] = True

    def fit(self, G: GradientMatrix) -> Fitted:
        return _Fitted(G)


class _Fitted(Fitted):
    @cached_property
    def fast(self) -> Fitted:
        return damped_inverse(self.G)

    @cached_property
    def precise(self) -> Fitted:
        return damped_inverse(self.G.to(torch.float64))

    @property
    def nbytes(self) -> int:
        made = [self.__dict__[name] for name in ("fast", "precise") if name in self.__dict__]
        return sum(fitted.nbytes for fitted in made)

    def solve(self, V: Tensor, lam: float) -> Solution:
        rounding = torch.finfo(self.G.dtype).eps * float(self.G.sq_norms.double().mean())
        if lam > ROUNDED * rounding:
            return self.fast.solve(V, lam)
        return self.precise.solve(V.double(), lam)
