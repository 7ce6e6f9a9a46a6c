"""What every estimator of the inverse-curvature product keeps.

For a block with gradients G [n, d] and damping λ the curvature is F = GᵀG/n + λI, and

    score(q, k) = v_qᵀ F⁻¹ g_k.

A method differs from the others only in what it puts for R = V F⁻¹ (row q is the solved vector
of query q); scores are then R Gᵀ. This is where the sign is set: positive = helpful, training
more on k lowers the loss of q. The paper's I(x_k) is the negative.

`fit` does what depends on the curvature alone, so that one fit serves every damping and every query
batch. The rows that it is given are those of F; they are G unless other rows stand for the
curvature (`datainf.collect_curvature`), and the scores are then those of other rows, G.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from datainf.linalg import GradientMatrix

SELF_INFLUENCE_BYTES = 64 * 2**20
"""Self-influence solves as many right-hand sides at one time as `batches` has for these bytes."""


@dataclass(frozen=True)
class Solution:
    """R ≈ V F⁻¹, [m, d], and how far an iterative method was from done.

    `residual` is max_q ‖v_q − F r_q‖ / ‖v_q‖ in units of the right-hand side; None where a
    method has a closed form.
    """

    R: Tensor
    residual: float | None = None


@dataclass(frozen=True)
class BlockScores:
    """One block's scores, [m, n], positive = helpful, with the residual of their solve."""

    values: Tensor
    residual: float | None = None


class Fitted(ABC):
    """An estimator with the rows of a block's curvature: ready for any damping and any queries."""

    def __init__(self, G: GradientMatrix) -> None:
        self.G = G

    @property
    def nbytes(self) -> int:
        """Of what it keeps beside the rows."""
        return 0

    @abstractmethod
    def solve(self, V: Tensor, lam: float) -> Solution:
        """R ≈ V F⁻¹ for query gradients V [m, d] and damping lam > 0."""

    def scores(self, V: Tensor, lam: float, G: GradientMatrix | None = None) -> BlockScores:
        """R Gᵀ, [m, n], for query gradients V [m, d] and damping lam > 0; of the training gradients
        G [n, d] if they are not the curvature's rows."""
        solution = self.solve(self.G.cast(V), lam)
        rows = self.G if G is None else G
        if rows.dtype != solution.R.dtype:  # where a solve is more precise, so is what cancels
            rows = rows.to(solution.R.dtype)
        return BlockScores((rows @ solution.R.T).T, solution.residual)

    def self_influence(self, lam: float, G: GradientMatrix | None = None) -> BlockScores:
        """score(k, k) for every training example, [n], in O(n d) memory; of the training gradients
        G [n, d] if they are not the curvature's rows."""
        rows = self.G if G is None else G
        n = rows.shape[0]
        values = torch.empty(n, dtype=rows.dtype, device=rows.device)
        residuals = []
        for batch in batches(slice(0, n), SELF_INFLUENCE_BYTES, self.G):
            V = self.G.cast(rows.rows(batch.start, batch.stop))
            solution = self.solve(V, lam)
            values[batch] = (solution.R * V).sum(dim=1)
            residuals.append(solution.residual)
        known = [residual for residual in residuals if residual is not None]
        return BlockScores(values, max(known) if known else None)


@dataclass(frozen=True)
class Defaults:
    """The options that a method has unless told otherwise, by the names that `attribute` takes; by
    default the paper's."""

    damping: str = "0.1"
    normalize: str = "none"
    metric: str = "none"
    blocks: str = "tensor"


class Estimator(ABC):
    """A method with its hyperparameters (dataclass fields of each subclass)."""

    name: ClassVar[str]
    defaults: ClassVar[Defaults] = Defaults()
    has_curvature: ClassVar[bool] = True
    needs_curvature: ClassVar[bool] = False
    """Whether it is made for rows that `collect_curvature` takes, and refuses the training's."""

    @abstractmethod
    def fit(self, G: GradientMatrix) -> Fitted:
        """Do what depends on the curvature's rows alone, G [n, d]."""


def batches(rows: slice, most_bytes: int, *matrices: GradientMatrix) -> list[slice]:
    """Right-hand sides in batches to solve for at one time, of one at least. A method has arrays of
    them by parameter and by row of the matrices; neither takes more than so many bytes."""
    longest = max(max(G.shape) for G in matrices)
    return cut(rows, most_bytes // (longest * matrices[0].dtype.itemsize))


def cut(rows: slice, step: int) -> list[slice]:
    """Consecutive slices of `step`, and of 1 at least."""
    step = max(1, step)
    return [slice(at, min(rows.stop, at + step)) for at in range(rows.start, rows.stop, step)]


def curvature_product(G: GradientMatrix, lam: float, X: Tensor) -> Tensor:
    """F X = Gᵀ(G X)/n + λX for columns X [d, m]."""
    return G.normal_matmul(X) / G.shape[0] + lam * X


def relative_residual(G: GradientMatrix, lam: float, V: Tensor, R: Tensor) -> Tensor:
    """‖v_q − F r_q‖ / ‖v_q‖ for every query, [m]; 0 where v_q = 0."""
    error = (V.T - curvature_product(G, lam, R.T)).norm(dim=0)
    size = V.norm(dim=1)
    return torch.where(size > 0, error / size, error)
