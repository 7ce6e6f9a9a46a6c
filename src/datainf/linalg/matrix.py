"""GradientMatrix: what every kind of matrix of per-example gradients can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from datainf.errors import OptionError
from datainf.linalg import symmetric

MAX_CHUNK_BYTES, SQUARE_CHUNK_BYTES = 16 * 2**20, 256 * 2**20
"""Upper bounds on the bytes of G that a product has in memory at one time: a thin one, and one
that makes a square matrix, which every chunk adds to as a whole."""
GPU_CHUNK_BYTES = 512 * 2**20
"""Of either on another device than the CPU, where to begin a product takes as long as a small one,
and there is no cache to stay in."""
SIDES = ("examples by examples", "parameters by parameters")
"""The square matrices of G's two sides, G Gᵀ and Gᵀ G, in words."""


class GradientMatrix(ABC):
    """Per-example gradients of one block: G, [n, d].

    Products are computed and returned in `dtype` on `device`, whatever the rows are stored as and
    wherever they lie; `to` gives a view that computes in another dtype or elsewhere.
    """

    dtype: torch.dtype
    device: torch.device
    shape: tuple[int, int]
    parameters: int
    """The model's parameters that the columns stand for: d, unless the rows are projected."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> Tensor:
        """Rows start … stop-1, [stop - start, d], in `dtype` on `device`."""

    @abstractmethod
    def slices(self, step: int) -> Iterator[slice]:
        """Consecutive row slices of at most `step` rows, none of which straddles two files."""

    @abstractmethod
    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | None = None
    ) -> GradientMatrix:
        """The same matrix, computing in `dtype` on `device`."""

    @abstractmethod
    def window(self, start: int, stop: int) -> GradientMatrix:
        """Rows start … stop-1 as a matrix of their own, [stop - start, d]; not copied."""

    @abstractmethod
    def held(self) -> GradientMatrix:
        """The same matrix with its rows in memory, in `dtype` on `device`: read once, whatever the
        number of products."""

    def by_rows(self, work: Callable[[Tensor], Tensor], X: Tensor) -> Tensor:
        """`work` of X [m, k], which takes each of its rows by itself, [m, …]; those who share the
        matrix share the rows too."""
        return work(X)

    def in_any(self, found: bool) -> bool:
        """Whether any has found it of those who share the matrix: what one decides by rounding of
        its own, while products are taken together, all have to decide alike."""
        return found

    @property
    def nbytes(self) -> int:
        """Of all rows in `dtype`."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def chunks(self, most_bytes: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Consecutive row slices with their rows, each at most so many bytes, by default
        `MAX_CHUNK_BYTES`."""
        for rows in self.slices(self._step(most_bytes or MAX_CHUNK_BYTES)):
            yield rows, self.rows(rows.start, rows.stop)

    def _step(self, most_bytes: int) -> int:
        if self.device.type != "cpu":
            most_bytes = GPU_CHUNK_BYTES
        return max(1, most_bytes // max(1, self.shape[1] * self.dtype.itemsize))

    def cast(self, X: Tensor) -> Tensor:
        """In the dtype and on the device of the products."""
        if X.itemsize < self.dtype.itemsize:  # made wider there: as it is, it is sooner there
            X = X.to(self.device)
        return X.to(self.device, self.dtype)

    def __matmul__(self, X: Tensor) -> Tensor:
        """G X: [n, d] @ [d, k] → [n, k] (or [d] → [n])."""
        check_inner("G @ X", self.shape[1], X)
        # Few long rows times many is what processors do faster than many times few columns.
        thin = transposed(self.cast(X))
        out = thin.new_empty((*thin.shape[:-1], self.shape[0]))
        for rows, G in self.chunks():
            out[..., rows] = thin @ G.T
        return transposed(out)

    def transposed_matmul(self, W: Tensor) -> Tensor:
        """Gᵀ W: [d, n] @ [n, k] → [d, k] (or [n] → [d])."""
        check_inner("G.T @ W", self.shape[0], W)
        thin = transposed(self.cast(W))
        out = thin.new_zeros((*thin.shape[:-1], self.shape[1]))
        for rows, G in self.chunks():
            out += thin[..., rows] @ G
        return transposed(out)

    @property
    def T(self) -> Transposed:
        """Gᵀ, for `G.T @ W`."""
        return Transposed(self)

    def normal_matmul(self, X: Tensor, weights: Tensor | None = None) -> Tensor:
        """Gᵀ diag(w) G X: [d, k] → [d, k], for weights w [n], 1 by default, in one pass over the
        rows."""
        check_inner("G @ X", self.shape[1], X)
        thin = transposed(self.cast(X))
        out = torch.zeros_like(thin)
        for rows, G in self.chunks():
            image = thin @ G.T
            if weights is not None:
                image *= weights[rows]
            out += image @ G
        return transposed(out)

    def gram(self, out: Tensor | None = None) -> Tensor:
        """K = G Gᵀ, [n, n], from one half of it; in `out`, which is zeros, if that is given. Raises
        `OptionError` where memory is too small."""
        K = self._zeros(0) if out is None else out
        self.add_gram(K)
        return symmetric.mirrored(K)

    def add_gram(self, K: Tensor) -> None:
        """Add G Gᵀ to K [n, n], below the diagonal and on it alone."""
        for rows, G in self.chunks(SQUARE_CHUNK_BYTES):
            for earlier, E in self.chunks(SQUARE_CHUNK_BYTES):
                if earlier.start >= rows.start:
                    break
                K[rows, earlier] += G @ E.T
            symmetric.add_lower(K[rows, rows], G, G.T)

    def second_moment(self, out: Tensor | None = None) -> Tensor:
        """Gᵀ G, [d, d], from one half of it; in `out`, which is zeros, if that is given. Raises
        `OptionError` where memory is too small."""
        C = self._zeros(1) if out is None else out
        for _, G in self.chunks(SQUARE_CHUNK_BYTES):
            symmetric.add_lower(C, G.T, G)
        return symmetric.mirrored(C)

    def _zeros(self, side: int) -> Tensor:
        return symmetric.zeros(self.shape[side], self.dtype, self.device, SIDES[side])[0]

    def mean_square(self) -> Tensor:
        """(1/n) Σ_i g_i², entry by entry, [d], float64: the diagonal of GᵀG/n."""
        out = torch.zeros(self.shape[1], dtype=torch.float64, device=self.device)
        for _, G in self.chunks():
            out += G.square().sum(dim=0)
        return out / self.shape[0]

    @cached_property
    def sq_norms(self) -> Tensor:
        """‖g_i‖² for every row, [n]."""
        out = torch.empty(self.shape[0], dtype=self.dtype, device=self.device)
        for rows, G in self.chunks():
            out[rows] = G.square().sum(dim=1)
        return out

    def to_dense(self) -> Tensor:
        """All rows in memory, [n, d]."""
        return self.rows(0, self.shape[0])

    def __repr__(self) -> str:
        n, d = self.shape
        return (
            f"{type(self).__name__}(n={n}, d={d}, dtype={str(self.dtype).removeprefix('torch.')})"
        )


@dataclass(frozen=True)
class Transposed:
    """Gᵀ, [d, n], as a view of G."""

    G: GradientMatrix

    @property
    def shape(self) -> tuple[int, int]:
        n, d = self.G.shape
        return d, n

    @property
    def T(self) -> GradientMatrix:
        return self.G

    def __matmul__(self, W: Tensor) -> Tensor:
        return self.G.transposed_matmul(W)


def check_inner(product: str, expected: int, right: Tensor) -> None:
    """Raise `OptionError` unless `right` is a vector or a matrix with `expected` rows."""
    if right.ndim not in (1, 2) or right.shape[0] != expected:
        raise OptionError(
            f"{product}: the right side must have {expected} rows; got shape {tuple(right.shape)}"
        )


def transposed(X: Tensor) -> Tensor:
    """Xᵀ of a matrix; a vector as it is."""
    return X.T if X.ndim == 2 else X


def rowwise(scale: Tensor, X: Tensor) -> Tensor:
    """diag(s) X for s [n] and X [n, …]."""
    return scale.reshape(-1, *[1] * (X.ndim - 1)) * X
