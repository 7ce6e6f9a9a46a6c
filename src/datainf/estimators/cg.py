"""Conjugate gradients on F R = V, all queries as columns, from zero.

Hestenes and Stiefel (1952). Each step costs two thin products, F P = Gᵀ(G P)/n + λP. After k
steps r_q is the best vector in the Krylov space of F and v_q in F's own norm, so a few steps are
far nearer to `exact` than DataInf is, at about its price. The residual of every block is
reported, by one more product F R and not by the recurrence, which in the rounding of the products
goes on falling when the solution no longer gets better; a solve that has not converged is never
silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from datainf.errors import OptionError
from datainf.estimators.base import Estimator, Fitted, Solution, relative_residual
from datainf.linalg import GradientMatrix


@dataclass(frozen=True)
class ConjugateGradient(Estimator):
    """`steps` of conjugate gradients, fewer once every residual is below `tolerance`."""

    steps: int = 5
    tolerance: float = 0.0
    name: ClassVar[str] = "cg"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise OptionError(f"cg needs at least one step, got {self.steps}", remedy="--steps 5")
        if self.tolerance < 0:
            raise OptionError(f"cg's tolerance is 0 or more, got {self.tolerance}")

    def fit(self, G: GradientMatrix) -> Fitted:
        return _Fitted(G, self.steps, self.tolerance)


class _Fitted(Fitted):
    def __init__(self, G: GradientMatrix, steps: int, tolerance: float) -> None:
        super().__init__(G)
        self.steps = steps
        self.tolerance = tolerance

    def solve(self, V: Tensor, lam: float) -> Solution:
        size = V.norm(dim=1)
        # Unit right-hand sides: the recurrence squares its residuals, which would under- or
        # overflow float32 for gradients of extreme scale.
        B = (V / torch.where(size > 0, size, 1)[:, None]).T
        X = self._unit_solve(B, lam)
        residual = relative_residual(self.G, lam, B.T, X.to(V.dtype).T)
        return Solution((X * size).T.to(V.dtype), float(residual.max()) if len(residual) else 0.0)

    def _unit_solve(self, B: Tensor, lam: float) -> Tensor:
        """X ≈ F⁻¹B for unit columns B [d, m], float64."""
        # A column at rounding level is done: dividing noise by noise would only add more.
        done = max(self.tolerance, torch.finfo(self.G.dtype).eps)
        # The recurrence cancels: its vectors are float64, the products with G in G's own dtype.
        B = B.double()
        X, residual, P = torch.zeros_like(B), B.clone(), B.clone()
        rho, n = residual.square().sum(dim=0), self.G.shape[0]
        for _ in range(self.steps):
            active = rho > done**2
            if not self.G.in_any(bool(active.any())):
                break
            FP = self.G.normal_matmul(P).double() / n + lam * P
            step = torch.where(active, rho / torch.where(active, (P * FP).sum(dim=0), 1), 0)
            X += step * P
            residual -= step * FP
            rho_next = residual.square().sum(dim=0)
            P = residual + torch.where(active, rho_next / torch.where(active, rho, 1), 0) * P
            rho = torch.where(active, rho_next, rho)
        return X
