"""Matrices of per-example gradients, and the damping of a block.

A block's matrix G is [n, d]: row i is g_i, the gradient of example i's loss with respect to the
block's d parameters. It may be larger than memory, so it is an operator: it has a shape, `@`,
`.T @`, `gram()` and row slices, all of which pass over it in chunks of rows.

The kinds compose. `ChunkedMatrix` holds rows in chunks (memory-mapped shards of a store), `HStack`
sets blocks side by side (an adapter's tensors as one block), `ColumnScaled` multiplies parameter j
by s_j (a metric), and `RowScaled` row i by s_i (unit normalisation).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Literal, Self, get_args

import torch
from torch import Tensor

from datainf.errors import OptionError

MAX_CHUNK_BYTES = 128 * 2**20
"""Upper bound on the bytes of G that a product holds as a converted copy at one time."""


GRAM_TILE = 128
"""Rows of a Gram matrix that are computed at one time."""


def accumulate_dtype(storage: torch.dtype) -> torch.dtype:
    """The dtype in which products over rows stored as `storage` are computed: float32 or better."""
    return torch.float64 if storage == torch.float64 else torch.float32


class GradientMatrix(ABC):
    """Per-example gradients of one block: G, [n, d].

    Products are computed and returned in `dtype`, whatever the rows are stored as; `to(dtype)`
    gives a view that computes in another one.
    """

    dtype: torch.dtype
    shape: tuple[int, int]

    @abstractmethod
    def rows(self, start: int, stop: int) -> Tensor:
        """Rows start … stop-1, [stop - start, d], in `dtype`."""

    @abstractmethod
    def to(self, dtype: torch.dtype) -> GradientMatrix:
        """The same matrix, computing in `dtype`."""

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Consecutive row slices with their rows, each at most `MAX_CHUNK_BYTES`."""
        n, d = self.shape
        step = max(1, MAX_CHUNK_BYTES // max(1, d * self.dtype.itemsize))
        for start in range(0, n, step):
            stop = min(n, start + step)
            yield slice(start, stop), self.rows(start, stop)

    def __matmul__(self, X: Tensor) -> Tensor:
        """G X: [n, d] @ [d, k] → [n, k] (or [d] → [n])."""
        _check_inner("G @ X", self.shape[1], X)
        X = X.to(self.dtype)
        out = X.new_empty((self.shape[0], *X.shape[1:]))
        for rows, G in self.chunks():
            out[rows] = G @ X
        return out

    def transposed_matmul(self, W: Tensor) -> Tensor:
        """Gᵀ W: [d, n] @ [n, k] → [d, k] (or [n] → [d])."""
        _check_inner("G.T @ W", self.shape[0], W)
        W = W.to(self.dtype)
        out = W.new_zeros((self.shape[1], *W.shape[1:]))
        for rows, G in self.chunks():
            out += G.T @ W[rows]
        return out

    @property
    def T(self) -> Transposed:
        """Gᵀ, for `G.T @ W`."""
        return Transposed(self)

    def gram(self) -> Tensor:
        """K = G Gᵀ, [n, n], from one half of it."""
        n = self.shape[0]
        K = torch.empty((n, n), dtype=self.dtype)
        for rows, G in self.chunks():
            K[rows, rows] = _gram(G)
            for earlier, E in self.chunks():
                if earlier.start >= rows.start:
                    break
                K[rows, earlier] = part = G @ E.T
                K[earlier, rows] = part.T
        return K

    def second_moment(self) -> Tensor:
        """Gᵀ G, [d, d]."""
        d = self.shape[1]
        C = torch.zeros((d, d), dtype=self.dtype)
        for _, G in self.chunks():
            C += G.T @ G
        return C

    def mean_square(self) -> Tensor:
        """(1/n) Σ_i g_i², entry by entry, [d]: the diagonal of GᵀG/n."""
        out = torch.zeros(self.shape[1], dtype=torch.float64)
        for _, G in self.chunks():
            out += G.square().sum(dim=0)
        return out / self.shape[0]

    @cached_property
    def sq_norms(self) -> Tensor:
        """‖g_i‖² for every row, [n]."""
        out = torch.empty(self.shape[0], dtype=self.dtype)
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


@dataclass(repr=False)
class ChunkedMatrix(GradientMatrix):
    """Rows in consecutive chunks, each a callable that gives its tensor [rows, d] when asked.

    The callables let a store map a shard only while it is read.
    """

    sources: Sequence[Callable[[], Tensor]]
    offsets: Sequence[int]  # first row of each chunk, then n
    width: int
    dtype: torch.dtype = torch.float32
    known_sq_norms: Tensor | None = None  # [n], where a store has them already
    shape: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.shape = (self.offsets[-1], self.width)

    @cached_property
    def sq_norms(self) -> Tensor:
        if self.known_sq_norms is not None:
            return self.known_sq_norms.to(self.dtype)
        return super().sq_norms

    def rows(self, start: int, stop: int) -> Tensor:
        pieces = []
        for source, low, high in zip(self.sources, self.offsets, self.offsets[1:], strict=False):
            if low < stop and high > start:
                piece = source()[max(start - low, 0) : stop - low]
                pieces.append(piece.to(self.dtype))
        if not pieces:
            return torch.empty((0, self.width), dtype=self.dtype)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        # A chunk never straddles two sources, so that a memory-mapped shard is used where it lies.
        step = max(1, MAX_CHUNK_BYTES // max(1, self.width * self.dtype.itemsize))
        for source, low, high in zip(self.sources, self.offsets, self.offsets[1:], strict=False):
            stored = source()
            for start in range(0, high - low, step):
                rows = stored[start : start + step].to(self.dtype)
                yield slice(low + start, low + start + len(rows)), rows

    def to(self, dtype: torch.dtype) -> ChunkedMatrix:
        return replace(self, dtype=dtype, known_sq_norms=None)


def from_dense(G: Tensor, *, dtype: torch.dtype | None = None) -> ChunkedMatrix:
    """A GradientMatrix over a dense tensor [n, d]."""
    if G.ndim != 2:
        raise OptionError(
            f"a gradient matrix has two dimensions, [n, d]; got shape {tuple(G.shape)}"
        )
    return ChunkedMatrix(
        [lambda: G], [0, G.shape[0]], G.shape[1], dtype or accumulate_dtype(G.dtype)
    )


@dataclass(repr=False)
class HStack(GradientMatrix):
    """[G_1 G_2 …]: blocks side by side, d = Σ d_l. Never copied as a whole."""

    parts: Sequence[GradientMatrix]
    dtype: torch.dtype = field(init=False)
    shape: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.dtype = self.parts[0].dtype
        self.shape = (self.parts[0].shape[0], sum(part.shape[1] for part in self.parts))

    @cached_property
    def widths(self) -> list[int]:
        return [part.shape[1] for part in self.parts]

    def rows(self, start: int, stop: int) -> Tensor:
        return torch.cat([part.rows(start, stop) for part in self.parts], dim=1)

    def to(self, dtype: torch.dtype) -> HStack:
        return HStack([part.to(dtype) for part in self.parts])

    def __matmul__(self, X: Tensor) -> Tensor:
        _check_inner("G @ X", self.shape[1], X)
        pieces = torch.split(X, self.widths)
        out = self.parts[0] @ pieces[0]
        for part, piece in zip(self.parts[1:], pieces[1:], strict=True):
            out += part @ piece
        return out

    def transposed_matmul(self, W: Tensor) -> Tensor:
        return torch.cat([part.T @ W for part in self.parts])

    def gram(self) -> Tensor:
        K = self.parts[0].gram()
        for part in self.parts[1:]:
            K += part.gram()
        return K

    @cached_property
    def sq_norms(self) -> Tensor:
        return torch.stack([part.sq_norms for part in self.parts]).sum(dim=0)


@dataclass(repr=False)
class _Scaled(GradientMatrix):
    """A matrix with one of its sides multiplied by a vector. Products scale their thin side, so
    that the rows themselves are never copied."""

    inner: GradientMatrix
    scale: Tensor
    dtype: torch.dtype = field(init=False)
    shape: tuple[int, int] = field(init=False)
    side: ClassVar[int]

    def __post_init__(self) -> None:
        self.dtype = self.inner.dtype
        self.shape = self.inner.shape
        self.scale = self.scale.to(self.dtype)
        if tuple(self.scale.shape) != (self.shape[self.side],):
            raise OptionError(
                f"a scale of shape {tuple(self.scale.shape)} for {self.shape[self.side]} "
                f"{('rows', 'parameters')[self.side]}"
            )

    def to(self, dtype: torch.dtype) -> Self:
        return type(self)(self.inner.to(dtype), self.scale)


@dataclass(repr=False)
class RowScaled(_Scaled):
    """diag(s) G: row i is s_i g_i, for s [n]."""

    side = 0

    def rows(self, start: int, stop: int) -> Tensor:
        return self.inner.rows(start, stop) * self.scale[start:stop, None]

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        for rows, G in self.inner.chunks():
            yield rows, G * self.scale[rows, None]

    def __matmul__(self, X: Tensor) -> Tensor:
        return _rowwise(self.scale, self.inner @ X)

    def transposed_matmul(self, W: Tensor) -> Tensor:
        return self.inner.T @ _rowwise(self.scale, W.to(self.dtype))

    def gram(self) -> Tensor:
        return self.scale[:, None] * self.inner.gram() * self.scale

    @cached_property
    def sq_norms(self) -> Tensor:
        return self.scale.square() * self.inner.sq_norms


@dataclass(repr=False)
class ColumnScaled(_Scaled):
    """G diag(s): parameter j of every row is multiplied by s_j, for s [d]."""

    side = 1

    def rows(self, start: int, stop: int) -> Tensor:
        return self.inner.rows(start, stop) * self.scale

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        for rows, G in self.inner.chunks():
            yield rows, G * self.scale

    def __matmul__(self, X: Tensor) -> Tensor:
        _check_inner("G @ X", self.shape[1], X)
        return self.inner @ _rowwise(self.scale, X.to(self.dtype))

    def transposed_matmul(self, W: Tensor) -> Tensor:
        return _rowwise(self.scale, self.inner.T @ W)


def hstack(parts: Sequence[GradientMatrix]) -> GradientMatrix:
    """Blocks side by side; one block stays itself."""
    return parts[0] if len(parts) == 1 else HStack(parts)


def norm_scale(sq_norms: Tensor, power: float = 1.0) -> Tensor:
    """‖g_i‖^−power from ‖g_i‖², [n] → [n]; 1 for a zero gradient, which stays zero."""
    return torch.where(sq_norms > 0, sq_norms, 1) ** (-power / 2)


def _gram(G: Tensor) -> Tensor:
    """G Gᵀ, [n, n]: tiles on and below the diagonal, the others mirrored."""
    n = len(G)
    K = G.new_empty((n, n))
    for start in range(0, n, GRAM_TILE):
        rows = slice(start, start + GRAM_TILE)
        part = G[rows] @ G[: rows.stop].T
        K[rows, : rows.stop] = part
        K[: rows.stop, rows] = part.T
    return K


def _rowwise(scale: Tensor, X: Tensor) -> Tensor:
    return scale.reshape(-1, *[1] * (X.ndim - 1)) * X


def _check_inner(product: str, expected: int, right: Tensor) -> None:
    if right.ndim not in (1, 2) or right.shape[0] != expected:
        raise OptionError(
            f"{product}: the right side must have {expected} rows; got shape {tuple(right.shape)}"
        )


DampingKind = Literal["dimension", "trace", "rows", "absolute"]
_PREFIXES: dict[DampingKind, str] = {
    "dimension": "", "trace": "trace", "rows": "rows", "absolute": "abs",
}  # fmt: skip
"""How each is spelled before the value, with a colon."""


@dataclass(frozen=True)
class Damping:
    """λ of a block, from the mean squared gradient norm s = mean_i ‖g_i‖² and the width d.

    - ``dimension``: λ = value · s / d, the paper's (section 3), value 0.1 by default;
    - ``trace``: λ = value · s, relative to the trace of GᵀG/n;
    - ``rows``: λ = value · s / n: in the dual, (K + value · s · I)⁻¹, so many typical examples;
    - ``absolute``: λ = value.

    λ has the units of a squared gradient norm. It must be positive; where every gradient of a
    block is zero, the relative kinds give λ = 0 and the block contributes nothing.

    Raises `OptionError` for a value that is not a positive finite number.
    """

    value: float = 0.1
    kind: DampingKind = "dimension"

    def __post_init__(self) -> None:
        if self.kind not in get_args(DampingKind):
            raise OptionError(
                f"unknown damping kind {self.kind!r}", remedy=" or ".join(get_args(DampingKind))
            )
        if not (0 < self.value < float("inf")):
            raise OptionError(
                f"damping must be a positive finite number, got {self.value}",
                remedy="0.1 (times mean squared norm over dimension), trace:0.02, rows:20 or "
                "abs:1e-3",
            )

    def lambda_of(self, G: GradientMatrix) -> float:
        """λ for the block G [n, d]."""
        if self.kind == "absolute":
            return self.value
        mean_square = float(G.sq_norms.double().mean())
        n, d = G.shape
        return self.value * mean_square / {"dimension": d, "trace": 1, "rows": n}[self.kind]

    @classmethod
    def parse(cls, text: str | float | Damping) -> Damping:
        """From "0.1", "trace:0.02", "rows:20" or "abs:1e-3" (the command line's spelling)."""
        if isinstance(text, Damping):
            return text
        kind, _, number = str(text).rpartition(":")
        kinds: dict[str, DampingKind] = {prefix: kind for kind, prefix in _PREFIXES.items()}
        try:
            return cls(float(number), kinds[kind])
        except (KeyError, ValueError) as error:
            if isinstance(error, OptionError):
                raise
            raise OptionError(
                f"cannot read the damping {text!r}", remedy="0.1, trace:0.02, rows:20 or abs:1e-3"
            ) from None

    def __str__(self) -> str:
        prefix = _PREFIXES[self.kind]
        return f"{prefix}:{self.value:g}" if prefix else f"{self.value:g}"
