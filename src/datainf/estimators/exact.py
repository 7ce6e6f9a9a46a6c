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

Memory is two float64 matrices of that side, its own and the one that is factored in place; the
eigendecomposition takes the place of the first and two more while it is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from datainf.errors import OptionError
from datainf.estimators.base import BlockScores, Estimator, Fitted, Solution
from datainf.linalg import GradientMatrix, symmetric
from datainf.linalg.matrix import SIDES


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
    """On the smaller side, k = min(n, d): cost, n d k + k³/3, and memory, 16 k² bytes, both grow
    with it.

    Raises `OptionError` where memory cannot hold that side's matrix and its factor; in solving for
    a second damping, where it cannot hold what the eigendecomposition takes.
    """
    n, d = G.shape
    return _Primal(G) if d <= n else _Dual(G)


class ShiftedInverse:
    """(S + cI)⁻¹ for any c > 0 and S [k, k] a multiple of G Gᵀ, for side 0, or of Gᵀ G, for 1.

    Raises `OptionError` where memory cannot hold S and its factor, or later an eigendecomposition.
    """

    def __init__(self, G: GradientMatrix, side: int, scale: float = 1.0) -> None:
        self.size, self.of, self.device = G.shape[side], SIDES[side], G.device
        S, spare = symmetric.zeros(self.size, torch.float64, self.device, self.of, count=2)
        # Products are summed in the rows' own precision, which has room where the factor will be.
        out = S if G.dtype == S.dtype else spare.view(G.dtype)[:, : self.size]
        product = G.second_moment(out) if side else G.gram(out)
        self._S: Tensor | None = (S if product is S else S.copy_(product)).mul_(scale)
        self._spare: Tensor | None = spare
        self._factored: float | None = None
        self._eigen: tuple[Tensor, Tensor] | None = None
        self.trace = float(S.trace())

    @property
    def nbytes(self) -> int:
        """Of S and its factor, or of what was decomposed of it."""
        kept = (self._S, self._spare, *(self._eigen or ()))
        return sum(tensor.nbytes for tensor in kept if tensor is not None)

    def _factor(self, c: float) -> Tensor | None:
        """The Cholesky factor of S + cI; None once another damping was asked for."""
        self._require_resolvable(c)
        if self._S is None or self._spare is None:
            return None
        # LAPACK's matrices have their columns in a row: what is transposed is factored in place.
        L = self._spare.T
        if self._factored is None:
            self._spare.copy_(self._S).diagonal().add_(c)
            failed = torch.empty((), dtype=torch.int32, device=self.device)
            torch.linalg.cholesky_ex(L, out=(L, failed))
            if failed:  # by rounding: eigenvalues can be clamped at 0, a factor cannot
                return None
            self._factored = c
        return L if self._factored == c else None

    def _decomposed(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues and eigenvectors of S, in its place; they serve every damping from then."""
        if self._eigen is None:
            assert self._S is not None
            self._spare = None
            symmetric.require(self.size, 2 * self._S.itemsize, self.device, self.of)
            s, Q = self._S.new_empty(self.size), self._S.T
            torch.linalg.eigh(Q, out=(s, Q))
            self._S, self._eigen = None, (s.clamp_min_(0), Q)
        return self._eigen

    def _require_resolvable(self, c: float) -> None:
        floor = self.size * torch.finfo(torch.float64).eps * self.trace
        if c < floor:
            raise OptionError(
                f"the damping is lost in rounding: {c:.1e} beside a trace of "
                f"{self.trace:.1e}; the inverse would be noise",
                remedy="a larger --damping",
            )

    def right_divide(self, X: Tensor, c: float) -> Tensor:
        """X (S + cI)⁻¹ for X [m, size]."""
        if (L := self._factor(c)) is not None:
            # Two triangular solves: `cholesky_solve` does the same on a copy of L.
            for factor, upper in ((L.T, True), (L, False)):
                X = torch.linalg.solve_triangular(factor, X, upper=upper, left=False)
            return X
        s, Q = self._decomposed()
        return ((X @ Q) / (s + c)) @ Q.T

    def inverse_times_s_diagonal(self, c: float) -> Tensor:
        """diag((S + cI)⁻¹ S), [size]: the ridge leverage scores."""
        if (L := self._factor(c)) is not None:
            assert self._S is not None
            symmetric.require(self.size, self._S.itemsize, self.device, self.of)
            return torch.cholesky_inverse(L).mul_(self._S).sum(dim=1)
        s, Q = self._decomposed()
        return Q.square() @ (s / (s + c))


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
        self.inverse = ShiftedInverse(G, side=1, scale=1 / G.shape[0])

    def solve(self, V: Tensor, lam: float) -> Solution:
        solved = self.G.by_rows(lambda rows: self.inverse.right_divide(rows, lam), V.double())
        return Solution(solved.to(V.dtype))


class _Dual(_Inverted):
    """d > n."""

    def __init__(self, G: GradientMatrix) -> None:
        super().__init__(G)
        self.inverse = ShiftedInverse(G, side=0)

    def solve(self, V: Tensor, lam: float) -> Solution:
        W = self._dual(V, lam)
        return Solution((V - (self.G.T @ W.T).T) / lam)

    def scores(self, V: Tensor, lam: float, G: GradientMatrix | None = None) -> BlockScores:
        if G is not None:
            return super().scores(V, lam, G)
        return BlockScores(self.G.shape[0] * self._dual(self.G.cast(V), lam))

    def _dual(self, V: Tensor, lam: float) -> Tensor:
        """V Gᵀ (K + nλI)⁻¹, [m, n], in the rows' dtype."""
        C, c = (self.G @ V.T).T.double(), self.G.shape[0] * lam
        solved = self.G.by_rows(lambda rows: self.inverse.right_divide(rows, c), C)
        return solved.to(self.G.dtype)

    def self_influence(self, lam: float, G: GradientMatrix | None = None) -> BlockScores:
        if G is not None:
            return super().self_influence(lam, G)
        n = self.G.shape[0]
        return BlockScores(n * self.inverse.inverse_times_s_diagonal(n * lam))
