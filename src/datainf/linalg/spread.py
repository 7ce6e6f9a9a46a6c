"""SpreadMatrix: one whose rows several processes multiply with, each with a part of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from datainf.linalg import symmetric
from datainf.linalg.matrix import SQUARE_CHUNK_BYTES, GradientMatrix, check_inner
from datainf.ranks import Ranks, ranks


class SpreadMatrix(GradientMatrix):
    """The rows of `whole`, which every process can read; each takes products with its own part, and
    all get their sum: Gᵀ W and the square matrices are summed over processes, of G X each has some
    rows. All processes have to take the same products, and ask for the same rows, in the same
    order.
    """

    def __init__(
        self, whole: GradientMatrix, ranks: Ranks, own: GradientMatrix | None = None
    ) -> None:
        self.whole, self.ranks = whole, ranks
        self.part = ranks.part(whole.shape[0])
        self.own = whole.window(self.part.start, self.part.stop) if own is None else own
        self.dtype, self.device, self.shape = whole.dtype, whole.device, whole.shape
        self.parameters = whole.parameters

    @property
    def nbytes(self) -> int:
        return self.own.nbytes

    def rows(self, start: int, stop: int) -> Tensor:
        """Each is read by the process whose part it is in, and told to all."""
        first = self.part.start
        at = [
            (max(start, part.start), min(stop, part.stop))
            for part in self.ranks.parts(self.shape[0])
        ]
        low, high = at[self.ranks.rank]
        own = self.own.rows(low - first, max(low, high) - first)
        sizes = [max(0, high - low) for low, high in at]
        return torch.cat(list(self.ranks.of_each(own, sizes)))

    def by_rows(self, work: Callable[[Tensor], Tensor], X: Tensor) -> Tensor:
        return self.ranks.rows(work(X[self.ranks.part(len(X))]), len(X))

    def in_any(self, found: bool) -> bool:
        return bool(self.ranks.largest(int(found)))

    def slices(self, step: int) -> Iterator[slice]:
        return self.whole.slices(step)

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | None = None
    ) -> SpreadMatrix:
        if (dtype or self.dtype, device or self.device) == (self.dtype, self.device):
            return self
        return SpreadMatrix(self.whole.to(dtype, device), self.ranks, self.own.to(dtype, device))

    def window(self, start: int, stop: int) -> GradientMatrix:
        return self.whole.window(start, stop)

    def held(self) -> SpreadMatrix:
        return SpreadMatrix(self.whole, self.ranks, self.own.held())

    def __matmul__(self, X: Tensor) -> Tensor:
        check_inner("G @ X", self.shape[1], X)
        return self.ranks.rows(self.own @ X, self.shape[0])

    def transposed_matmul(self, W: Tensor) -> Tensor:
        check_inner("G.T @ W", self.shape[0], W)
        return self.ranks.sum(self.own.transposed_matmul(W[self.part]).contiguous())

    def normal_matmul(self, X: Tensor, weights: Tensor | None = None) -> Tensor:
        check_inner("G @ X", self.shape[1], X)
        own = None if weights is None else weights[self.part]
        return self.ranks.sum(self.own.normal_matmul(X, own).contiguous())

    def add_gram(self, K: Tensor) -> None:
        """Each has the products of its rows with all before them."""
        mine = torch.zeros_like(K)
        first = self.part.start
        for rows, G in self.own.chunks(SQUARE_CHUNK_BYTES):
            here = slice(first + rows.start, first + rows.stop)
            for earlier, E in self.whole.chunks(SQUARE_CHUNK_BYTES):
                if earlier.start >= here.start:
                    break
                stop = min(earlier.stop, here.start)
                mine[here, earlier.start : stop] += G @ E[: stop - earlier.start].T
            symmetric.add_lower(mine[here, here], G, G.T)
        K += self.ranks.sum(mine)

    def second_moment(self, out: Tensor | None = None) -> Tensor:
        C = self._zeros(1)
        for _, G in self.own.chunks(SQUARE_CHUNK_BYTES):
            symmetric.add_lower(C, G.T, G)
        found = symmetric.mirrored(self.ranks.sum(C))
        return found if out is None else out.copy_(found)

    def mean_square(self) -> Tensor:
        rows = self.own.shape[0]
        own = self.own.mean_square() * rows if rows else torch.zeros(
            self.shape[1], dtype=torch.float64, device=self.device
        )  # fmt: skip
        return self.ranks.sum(own) / self.shape[0]

    @cached_property
    def sq_norms(self) -> Tensor:
        return self.ranks.rows(self.own.sq_norms, self.shape[0])


def spread(G: GradientMatrix) -> GradientMatrix:
    """`G` over the processes that there are; of one as it is."""
    all_of_them = ranks()
    return G if all_of_them.count == 1 else SpreadMatrix(G, all_of_them)
