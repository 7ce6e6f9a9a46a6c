"""ChunkedMatrix: rows in consecutive chunks, read where they lie when they are asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from datainf.errors import OptionError
from datainf.linalg.matrix import GradientMatrix

CPU = torch.device("cpu")


def accumulate_dtype(storage: torch.dtype) -> torch.dtype:
    """The dtype in which products over rows stored as `storage` are computed: float32 or better."""
    return torch.float64 if storage == torch.float64 else torch.float32


@dataclass(repr=False)
class ChunkedMatrix(GradientMatrix):
    """Rows in consecutive chunks, each a callable that gives its tensor [rows, d] when asked.

    The callables let a store map a shard only while it is read: what was read of it counts as
    memory in use for as long as the mapping lives.
    """

    sources: Sequence[Callable[[], Tensor]]
    offsets: Sequence[int]  # first row of each chunk, then n
    width: int
    dtype: torch.dtype = torch.float32
    known_sq_norms: Tensor | None = None  # [n], where a store has them already
    device: torch.device = CPU
    parameters: int = 0  # by default as many as columns
    in_memory: bool = False
    shape: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.shape = (self.offsets[-1], self.width)
        self.parameters = self.parameters or self.width

    @cached_property
    def sq_norms(self) -> Tensor:
        if self.known_sq_norms is not None:
            return self.cast(self.known_sq_norms)
        return super().sq_norms

    def rows(self, start: int, stop: int) -> Tensor:
        pieces = []
        place = max(0, bisect_right(self.offsets, start) - 1)
        while place < len(self.sources) and self.offsets[place] < stop:
            low = self.offsets[place]
            pieces.append(self.cast(self.sources[place]()[max(start - low, 0) : stop - low]))
            place += 1
        if start >= stop or not pieces:
            return torch.empty((0, self.width), dtype=self.dtype, device=self.device)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def slices(self, step: int) -> Iterator[slice]:
        for low, high in zip(self.offsets, self.offsets[1:], strict=False):
            for start in range(low, high, step):
                yield slice(start, min(high, start + step))

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | None = None
    ) -> ChunkedMatrix:
        dtype, device = dtype or self.dtype, device or self.device
        if (dtype, device) == (self.dtype, self.device):
            return self
        # Squared norms of another precision are those of its own arithmetic.
        known = self.known_sq_norms if dtype == self.dtype else None
        return replace(self, dtype=dtype, device=device, known_sq_norms=known, in_memory=False)

    def window(self, start: int, stop: int) -> ChunkedMatrix:
        sources, offsets = [], [0]
        for source, low, high in zip(self.sources, self.offsets, self.offsets[1:], strict=False):
            first, end = max(start, low), min(stop, high)
            if first < end:
                sources.append(_part(source, slice(first - low, end - low)))
                offsets.append(end - start)
        known = None if self.known_sq_norms is None else self.known_sq_norms[start:stop]
        return replace(self, sources=sources, offsets=offsets, known_sq_norms=known)

    def held(self) -> ChunkedMatrix:
        if self.in_memory:
            return self
        if len(self.sources) == 1:  # as mapped, where nothing has to be converted
            rows = self.rows(0, self.shape[0])
        else:
            rows = torch.empty(self.shape, dtype=self.dtype, device=self.device)
            for part, G in self.chunks():
                rows[part] = G
        known = self.known_sq_norms
        return replace(from_dense(rows), known_sq_norms=known, parameters=self.parameters)


def _part(source: Callable[[], Tensor], rows: slice) -> Callable[[], Tensor]:
    return lambda: source()[rows]


def from_dense(G: Tensor, *, dtype: torch.dtype | None = None) -> ChunkedMatrix:
    """A GradientMatrix over a dense tensor [n, d], on its device."""
    if G.ndim != 2:
        raise OptionError(
            f"a gradient matrix has two dimensions, [n, d]; got shape {tuple(G.shape)}"
        )
    dtype = dtype or accumulate_dtype(G.dtype)
    return ChunkedMatrix(
        [lambda: G], [0, G.shape[0]], G.shape[1], dtype,
        device=G.device, in_memory=dtype == G.dtype,
    )  # fmt: skip
