"""The damped inverse itself, on the smaller side.

With d ≤ n the d×d matrix M = GᵀG is factored and R = V (M/n + λI)⁻¹. With d > n it is the n×n
matrix K = GGᵀ: by Woodbury R = (V − C (K + nλI)⁻¹ G)/λ with C = V Gᵀ, and the scores
collapse to

    R Gᵀ = n C (K + nλI)⁻¹,

which has no difference of large numbers in it. `exact` computes all of it in float64, whatever the
rows are stored as: it is what other methods are judged by. `damped_inverse` serves others too, with
products in the precision of the rows and only the factorisation in float64.

The first damping is solved by a Cholesky factorisation. A second damping makes one symmetric
eigendecomposition, ten-odd times dearer, which then serves every damping.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from datainf.errors import OptionError
from datainf.estimators.base import BlockScores, Estimator, Fitted, Solution
from datainf.linalg import GradientMatrix


@dataclass(frozen=True)
class Exact(Estimator):
    """No approximation but the block-diagonal one; O(n d min(n, d)) a block, once.

    Raises `OptionError` where memory is too small; and in solving, for a damping that float64
    cannot tell from none.
    """

    name: ClassVar[str] = "exact"

    def fit(self, G: GradientMatrix) -> Fitted:
        return damped_inverse(G.to(torch.float64))


def damped_inverse(G: GradientMatrix) -> Fitted:
    """On the smaller side, k = min(n, d): cost, n d k + k³/3, and memory, k², both grow with it.

    Raises `OptionError` where memory cannot hold that side's matrix.
    """
    n, d = G.shape
    return _Primal(G) if d <= n else _Dual(G)


class ShiftedInverse:
    """(S + cI)⁻¹ for a symmetric positive semidefinite S and any c > 0."""

    def __init__(self, S: Tensor) -> None:
        self.S = S
        self._cholesky: tuple[float, Tensor] | None = None

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        s, Q = torch.linalg.eigh(self.S)
        return s.clamp_min(0), Q

    @property
    def nbytes(self) -> int:
        """Of S, and of what was factored of it."""
        kept = [self.S, *self.__dict__.get("_eigen", ())]
        if self._cholesky is not None:
            kept.append(self._cholesky[1])
        return sum(tensor.nbytes for tensor in kept)

    def _factor(self, c: float) -> Tensor | None:
        """The Cholesky factor of S + cI; None once another damping was asked for."""
        self._require_resolvable(c)
        if "_eigen" in self.__dict__:
            return None
        if self._cholesky is None:
            shifted = self.S.clone()
            shifted.diagonal().add_(c)
            factor, failed = torch.linalg.cholesky_ex(shifted)
            if failed:  # by rounding: eigenvalues can be clamped at 0, a factor cannot
                return None
            self._cholesky = (c, factor)
        known, factor = self._cholesky
        return factor if known == c else None

    def _require_resolvable(self, c: float) -> None:
        floor = len(self.S) * torch.finfo(self.S.dtype).eps * float(self.S.trace())
        if c < floor:
            raise OptionError(
                f"the damping is lost in rounding: {c:.1e} beside a trace of "
                f"{float(self.S.trace()):.1e}; the inverse would be noise",
                remedy="a larger --damping",
            )

    def right_divide(self, X: Tensor, c: float) -> Tensor:
        """X (S + cI)⁻¹ for X [m, size]."""
        if (L := self._factor(c)) is not None:
            return torch.cholesky_solve(X.T, L).T
        s, Q = self._eigen
        return ((X @ Q) / (s + c)) @ Q.T

    def inverse_times_s_diagonal(self, c: float) -> Tensor:
        """diag((S + cI)⁻¹ S), [size]: the ridge leverage scores."""
        if (L := self._factor(c)) is not None:
            return (torch.cholesky_inverse(L) * self.S).sum(dim=1)
        s, Q = self._eigen
        return (Q.square() * (s / (s + c))).sum(dim=1)


class _Inverted(Fitted):
    """One of the two."""

    inverse: ShiftedInverse

    @property
    def nbytes(self) -> int:
        return self.inverse.nbytes


class _Primal(_Inverted):
    """d ≤ n."""

    def __init__(self, G: GradientMatrix) -> None:
        super().__init__(G)
        self.inverse = ShiftedInverse(G.second_moment().double().div_(G.shape[0]))

    def solve(self, V: Tensor, lam: float) -> Solution:
        return Solution(self.inverse.right_divide(V.double(), lam).to(V.dtype))


class _Dual(_Inverted):
    """d > n."""

    def __init__(self, G: GradientMatrix) -> None:
        super().__init__(G)
        self.inverse = ShiftedInverse(G.gram().double())

    def solve(self, V: Tensor, lam: float) -> Solution:
        W = self._dual(V, lam)
        return Solution((V - (self.G.T @ W.T).T) / lam)

    def scores(self, V: Tensor, lam: float, G: GradientMatrix | None = None) -> BlockScores:
        if G is not None:
            return super().scores(V, lam, G)
        return BlockScores(self.G.shape[0] * self._dual(self.G.cast(V), lam))

    def _dual(self, V: Tensor, lam: float) -> Tensor:
        """V Gᵀ (K + nλI)⁻¹, [m, n], in the rows' dtype."""
        C = (self.G @ V.T).T.double()
        return self.inverse.right_divide(C, self.G.shape[0] * lam).to(self.G.dtype)

    def self_influence(self, lam: float, G: GradientMatrix | None = None) -> BlockScores:
        if G is not None:
            return super().self_influence(lam, G)
        n = self.G.shape[0]
        return BlockScores(n * self.inverse.inverse_times_s_diagonal(n * lam))
