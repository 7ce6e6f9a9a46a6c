"""HStack: blocks side by side, as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from datainf.linalg import matrix
from datainf.linalg.matrix import GradientMatrix, check_inner, transposed


@dataclass(repr=False)
class HStack(GradientMatrix):
    """[G_1 G_2 …]: blocks side by side, d = Σ d_l. Never copied as a whole."""

    parts: Sequence[GradientMatrix]
    dtype: torch.dtype = field(init=False)
    device: torch.device = field(init=False)
    shape: tuple[int, int] = field(init=False)
    parameters: int = field(init=False)

    def __post_init__(self) -> None:
        first = self.parts[0]
        self.dtype, self.device = first.dtype, first.device
        self.shape = (first.shape[0], sum(part.shape[1] for part in self.parts))
        self.parameters = sum(part.parameters for part in self.parts)

    @cached_property
    def widths(self) -> list[int]:
        return [part.shape[1] for part in self.parts]

    def rows(self, start: int, stop: int) -> Tensor:
        return torch.cat([part.rows(start, stop) for part in self.parts], dim=1)

    def slices(self, step: int) -> Iterator[slice]:
        return self.parts[0].slices(step)

    def to(self, dtype: torch.dtype | None = None, device: torch.device | None = None) -> HStack:
        parts = [part.to(dtype, device) for part in self.parts]
        same = all(new is part for new, part in zip(parts, self.parts, strict=True))
        return self if same else HStack(parts)

    def window(self, start: int, stop: int) -> HStack:
        return HStack([part.window(start, stop) for part in self.parts])

    def held(self) -> HStack:
        return HStack([part.held() for part in self.parts])

    def __matmul__(self, X: Tensor) -> Tensor:
        check_inner("G @ X", self.shape[1], X)
        pieces = torch.split(X, self.widths)
        out = self.parts[0] @ pieces[0]
        for part, piece in zip(self.parts[1:], pieces[1:], strict=True):
            out += part @ piece
        return out

    def transposed_matmul(self, W: Tensor) -> Tensor:
        return torch.cat([part.T @ W for part in self.parts])

    def normal_matmul(self, X: Tensor, weights: Tensor | None = None) -> Tensor:
        check_inner("G @ X", self.shape[1], X)
        thin = transposed(self.cast(X))
        out = torch.zeros_like(thin)
        pieces, sums = (torch.split(t, self.widths, dim=-1) for t in (thin, out))
        for rows in self.slices(self._step(matrix.MAX_CHUNK_BYTES)):
            blocks = [part.rows(rows.start, rows.stop) for part in self.parts]
            image = pieces[0] @ blocks[0].T
            for G, piece in zip(blocks[1:], pieces[1:], strict=True):
                image += piece @ G.T
            if weights is not None:
                image *= weights[rows]
            for G, total in zip(blocks, sums, strict=True):
                total += image @ G
        return transposed(out)

    def add_gram(self, K: Tensor) -> None:
        for part in self.parts:
            part.add_gram(K)

    @cached_property
    def sq_norms(self) -> Tensor:
        return torch.stack([part.sq_norms for part in self.parts]).sum(dim=0)


def hstack(parts: Sequence[GradientMatrix]) -> GradientMatrix:
    """Blocks side by side; one block stays itself."""
    return parts[0] if len(parts) == 1 else HStack(parts)
