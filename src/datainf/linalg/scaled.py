"""A matrix with its rows, or its columns, multiplied by numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Self

import torch
from torch import Tensor

from datainf.errors import OptionError
from datainf.linalg.matrix import GradientMatrix, check_inner, rowwise


@dataclass(repr=False)
class _Scaled(GradientMatrix):
    """A matrix with one of its sides multiplied by a vector. Products scale their thin side, so
    that the rows themselves are never copied."""

    inner: GradientMatrix
    scale: Tensor
    dtype: torch.dtype = field(init=False)
    device: torch.device = field(init=False)
    shape: tuple[int, int] = field(init=False)
    parameters: int = field(init=False)
    side: ClassVar[int]

    def __post_init__(self) -> None:
        inner = self.inner
        self.dtype, self.device = inner.dtype, inner.device
        self.shape, self.parameters = inner.shape, inner.parameters
        self.scale = self.cast(self.scale)
        if tuple(self.scale.shape) != (self.shape[self.side],):
            raise OptionError(
                f"a scale of shape {tuple(self.scale.shape)} for {self.shape[self.side]} "
                f"{('rows', 'parameters')[self.side]}"
            )

    def slices(self, step: int) -> Iterator[slice]:
        return self.inner.slices(step)

    def to(self, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Self:
        inner = self.inner.to(dtype, device)
        return self if inner is self.inner else replace(self, inner=inner)

    def held(self) -> Self:
        return replace(self, inner=self.inner.held())


@dataclass(repr=False)
class RowScaled(_Scaled):
    """diag(s) G: row i is s_i g_i, for s [n]."""

    known_sq_norms: Tensor | None = None  # [n], where a store has them already
    side = 0

    def to(self, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Self:
        inner = self.inner.to(dtype, device)
        if inner is self.inner:
            return self
        # Squared norms of another precision are those of its own arithmetic.
        known = self.known_sq_norms if dtype in (None, self.dtype) else None
        return replace(self, inner=inner, known_sq_norms=known)

    def rows(self, start: int, stop: int) -> Tensor:
        return self.inner.rows(start, stop) * self.scale[start:stop, None]

    def window(self, start: int, stop: int) -> Self:
        known = None if self.known_sq_norms is None else self.known_sq_norms[start:stop]
        inner, scale = self.inner.window(start, stop), self.scale[start:stop]
        return replace(self, inner=inner, scale=scale, known_sq_norms=known)

    def __matmul__(self, X: Tensor) -> Tensor:
        return rowwise(self.scale, self.inner @ X)

    def transposed_matmul(self, W: Tensor) -> Tensor:
        return self.inner.T @ rowwise(self.scale, self.cast(W))

    def normal_matmul(self, X: Tensor, weights: Tensor | None = None) -> Tensor:
        square = self.scale.square()
        return self.inner.normal_matmul(X, square if weights is None else square * weights)

    def gram(self, out: Tensor | None = None) -> Tensor:
        return self.inner.gram(out).mul_(self.scale[:, None]).mul_(self.scale)

    @cached_property
    def sq_norms(self) -> Tensor:
        if self.known_sq_norms is not None:
            return self.cast(self.known_sq_norms)
        return self.scale.square() * self.inner.sq_norms


@dataclass(repr=False)
class ColumnScaled(_Scaled):
    """G diag(s): parameter j of every row is multiplied by s_j, for s [d]."""

    side = 1

    def rows(self, start: int, stop: int) -> Tensor:
        return self.inner.rows(start, stop) * self.scale

    def window(self, start: int, stop: int) -> Self:
        return replace(self, inner=self.inner.window(start, stop))

    def __matmul__(self, X: Tensor) -> Tensor:
        check_inner("G @ X", self.shape[1], X)
        return self.inner @ rowwise(self.scale, self.cast(X))

    def transposed_matmul(self, W: Tensor) -> Tensor:
        return rowwise(self.scale, self.inner.T @ W)

    def normal_matmul(self, X: Tensor, weights: Tensor | None = None) -> Tensor:
        check_inner("G @ X", self.shape[1], X)
        inner = self.inner.normal_matmul(rowwise(self.scale, self.cast(X)), weights)
        return rowwise(self.scale, inner)


def norm_scale(sq_norms: Tensor, power: float = 1.0) -> Tensor:
    """‖g_i‖^−power from ‖g_i‖², [n] → [n]; 1 for a zero gradient, which stays zero."""
    return torch.where(sq_norms > 0, sq_norms, 1) ** (-power / 2)
