"""Kernel ridge regression on gradients: two steps of conjugate gradients, in the dual.

    V F⁻¹ Gᵀ = n V Gᵀ (K + cI)⁻¹,   K = GGᵀ, c = nλ,

so the scores of a query are n times the solution a of (K + cI) a = G v. Conjugate gradients
(Hestenes and Stiefel, 1952) from zero take two thin products a step, with G and with Gᵀ, and form
neither K nor its inverse; where there are fewer examples than the queries' products are worth, K
is formed once and does the same steps.

What makes the method are the options that it brings: gradients in the metric that trained the
model (Adam's), scaled to norm 1, one block for the whole model, and the damping of the training's
learning rates. K is then the matrix of cosines. docs/ridge.md derives it and says what it was
tested on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from datainf.errors import OptionError
from datainf.estimators.base import BlockScores, Defaults, Estimator, Fitted, Solution
from datainf.linalg import GradientMatrix

GRAM_BYTES = 2**30
"""Upper bound on a K that is formed."""


@dataclass(frozen=True)
class Ridge(Estimator):
    """`steps` of conjugate gradients; the whole solve foretells no better what retraining does.

    The residual is that of the system that is solved: of scores of the curvature's own rows the
    dual's, ‖Gv − (K + cI)a‖/‖Gv‖, and where R is asked for that of F R = V. It is the recurrence's,
    which says where few steps end; it does not see what rounding adds in hundreds.
    """

    steps: int = 2
    name: ClassVar[str] = "ridge"
    defaults: ClassVar[Defaults] = Defaults("flow", "unit", "auto", "model")

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise OptionError(
                f"ridge needs at least one step, got {self.steps}", remedy="--steps 2"
            )

    def fit(self, G: GradientMatrix) -> Fitted:
        return _Fitted(G, self.steps)


class _Fitted(Fitted):
    def __init__(self, G: GradientMatrix, steps: int) -> None:
        super().__init__(G)
        self.steps = steps
        self._K: Tensor | None = None

    def solve(self, V: Tensor, lam: float) -> Solution:
        """R [m, d] whose scores R Gᵀ are those of `scores`: of each dual vector a, which is a
        polynomial in K times G v, the same polynomial in GᵀG times v."""
        n = self.G.shape[0]
        dual = self._dual(V, lam)
        X, P = torch.zeros_like(V.T, dtype=torch.float64), V.T.double()
        residual = P.clone()
        for _ in range(self.steps):
            # What P is to the dual's direction GP, GᵀGP is to K GP.
            image = (self.G.T @ dual.direction).double()
            step, turn = dual.advance((self.G @ image).double())
            X += step * P
            residual -= step * (image + n * lam * P)
            P = residual + turn * P
        size = torch.where((norm := V.double().norm(dim=1)) > 0, norm, 1)
        left = residual.norm(dim=0) / size
        return Solution((n * X).T.to(V.dtype), float(left.max()) if len(left) else 0.0)

    def scores(self, V: Tensor, lam: float, G: GradientMatrix | None = None) -> BlockScores:
        if G is not None:
            return super().scores(V, lam, G)
        n = self.G.shape[0]
        dual, product = self._dual(V, lam), self._product(len(V))
        for _ in range(self.steps):
            dual.advance(product(dual.direction))
        return BlockScores((n * dual.solution).T.to(self.G.dtype), dual.residual)

    def _dual(self, V: Tensor, lam: float) -> _ConjugateGradients:
        rounding = torch.finfo(self.G.dtype).eps
        return _ConjugateGradients((self.G @ V.T).double(), self.G.shape[0] * lam, rounding)

    def _product(self, m: int) -> Callable[[Tensor], Tensor]:
        """x ↦ K x, [n, m] float64, by the cheaper way: K once is n/2m of a step's two products."""
        n, d = self.G.shape
        worth = n <= min(d, 2 * m * self.steps) and 8 * n * n <= GRAM_BYTES
        if self._K is None and worth:
            self._K = self.G.gram().double()
        K = self._K
        if K is not None:
            return lambda x: K @ x
        return lambda x: (self.G @ (self.G.T @ x)).double()


class _ConjugateGradients:
    """(K + cI) a = b for all columns of b [n, m] at once, from a = 0; float64.

    The caller gives K times `direction` to `advance`, once a step; `rounding` is that of the
    products.
    """

    def __init__(self, b: Tensor, c: float, rounding: float) -> None:
        self.c = c
        self.solution = torch.zeros_like(b)
        self.direction, self._left = b.clone(), b.clone()
        self._rho = self._size = b.square().sum(dim=0)
        # A column at rounding level is done: dividing noise by noise would only add more.
        self._done = rounding**2 * self._size

    def advance(self, K_direction: Tensor) -> tuple[Tensor, Tensor]:
        """A step; returns how far it went along the direction, and how much of that is kept for
        the next, [m] each."""
        active = self._rho > self._done
        image = K_direction + self.c * self.direction
        curvature = (self.direction * image).sum(dim=0)
        step = torch.where(active, self._rho / torch.where(active, curvature, 1), 0)
        self.solution += step * self.direction
        self._left -= step * image
        rho = self._left.square().sum(dim=0)
        turn = torch.where(active, rho / torch.where(active, self._rho, 1), 0)
        self.direction = self._left + turn * self.direction
        self._rho = torch.where(active, rho, self._rho)
        return step, turn

    @property
    def residual(self) -> float:
        """The largest ‖b − (K + cI) a‖ / ‖b‖ of a column; 0 where b is 0."""
        if not len(self._rho):
            return 0.0
        size = torch.where(self._size > 0, self._size, 1)
        return float((self._rho / size).sqrt().max())
