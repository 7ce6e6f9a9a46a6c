"""Random projections that make rows of gradients smaller and keep their inner products.

A row g of a block with d entries becomes y = P g with k < d numbers, E[y·y'] = g·g', and DataInf,
`exact` and `cg`, which live on inner products, run on projected rows as they are. P is never
formed. It depends on the seed and the block's name alone, not on the device, nor on torch's
version: its signs are bits of NumPy's Philox generator, whose stream is fixed.

- **Up to `FORMED` entries** (LoRA), and thin matrices: y = S (H_a ⊗ H_b) D g / √k, a subsampled
  randomised Hadamard transform (Ailon and Chazelle, "The fast Johnson–Lindenstrauss transform",
  SIAM J. Comput. 2009; Tropp, arXiv 1011.1595). D has random signs, the Hadamard matrices H have
  a·b ≥ d entries ±1, S picks k. As good as a dense P; two small products a row.
- **Larger matrices**: Y = P_o G P_iᵀ with random signs P_o [k_o, out]/√k_o and P_i [k_i, in]/√k_i.
  Of a linear layer, G = Σ_t y_t ⊗ x_t, it is applied to y_t and x_t, *before* the example's
  product is formed: see `datainf.gradients.tap`.

For a LoRA matrix the first is both better and cheaper than the second: of gradients of low rank a
one-sided projection sees few directions, and projecting every token costs more than projecting
the [r, in] product of all of them. Of a thin matrix, such as a LoRA's of a vocabulary, P_i would
besides grow with the square of its length. docs/compression.md has figures.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from operator import index
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor

from datainf.errors import OptionError

__all__ = ["Projection"]

FORMED = 2**20
"""Entries of a block up to which an example's gradient is formed and then projected."""
SIDES = 8
"""A larger matrix is projected on its sides while P_o and P_i have no more numbers than so many of
its gradients: about what one takes to be formed and mixed."""
SMALLEST = 32
"""A block of no more entries is kept as it is, and none is made smaller than this."""


@dataclass(frozen=True)
class Projection:
    """Every block of d numbers becomes one of about d / ratio.

    `metric` tells what each gradient was multiplied by before: "none", or "adam" for v̂^-¼, see
    `datainf.second_moments`; afterwards it cannot be.
    Raises `OptionError` for a ratio that is not a whole number above 1.
    """

    ratio: int
    seed: int = 0
    metric: str = "none"

    def __post_init__(self) -> None:
        # NumPy's whole numbers too, of which JSON takes none.
        whole = index(self.ratio) if hasattr(self.ratio, "__index__") else 0
        if whole < 2:
            raise OptionError(
                f"a projection cannot keep one of {self.ratio} numbers",
                remedy="a whole number, 2 or more",
            )
        object.__setattr__(self, "ratio", whole)
        if self.metric not in ("none", "adam"):
            raise OptionError(
                f"gradients cannot be projected in the metric {self.metric!r}",
                remedy="none or adam",
            )

    def to_json(self) -> dict[str, Any]:
        """As a store's index has it."""
        return asdict(self)

    def of(self, name: str, shape: tuple[int, ...]) -> Sketch | None:
        """P of a block; None if the block is kept as it is."""
        d = math.prod(shape)
        k = max(SMALLEST, -(-d // self.ratio))
        if k >= d:
            return None
        if d > FORMED and len(shape) == 2:
            k_out, k_in = _sides(shape, k)
            if k_out * shape[0] + k_in * shape[1] <= SIDES * d:
                return TwoSided(name, self.seed, shape, k_out, k_in)
        return Hadamard(name, self.seed, d, k)


@dataclass(frozen=True)
class Sketch:
    """P [k, d] of one block, as a function of rows."""

    name: str
    seed: int

    @property
    def columns(self) -> int:
        """k."""
        raise NotImplementedError

    def __call__(self, rows: Tensor) -> Tensor:
        """Rows [B, d] → [B, k], float32 or better."""
        raise NotImplementedError

    def adjoint(self, rows: Tensor) -> Tensor:
        """Pᵀ of rows [B, k] → [B, d], float32 or better: z · P g = Pᵀz · g."""
        raise NotImplementedError

    def _bits(self, what: str, count: int) -> np.ndarray[Any, Any]:
        return self._philox(what).random_raw(-(-count // 64)).astype("<u8").view(np.uint8)

    def _philox(self, what: str) -> np.random.Philox:
        return np.random.Philox(key=xxhash.xxh3_128_intdigest(self._key(what)))

    def _key(self, what: str) -> bytes:
        return f"{self.seed}/{self.name}/{what}".encode()

    def _signs(self, what: str, *shape: int) -> Tensor:
        """Random ±1, float32."""
        count = math.prod(shape)
        bits = np.unpackbits(self._bits(what, count), count=count)
        return torch.from_numpy(bits.astype(np.float32)).mul_(2).sub_(1).reshape(shape)


@dataclass(frozen=True)
class Hadamard(Sketch):
    """y = S (H_a ⊗ H_b) D g / √k."""

    d: int
    k: int

    @property
    def columns(self) -> int:
        return self.k

    def __call__(self, rows: Tensor) -> Tensor:
        if self.d > FORMED and len(rows) > 1:  # each is work enough, and seven times its own bytes
            return torch.cat([self(row) for row in torch.split(rows, 1)])
        signs, left, right, picked = self._on(rows)
        (a, _), (b, _) = left.shape, right.shape
        padded = rows.new_zeros((len(rows), a * b))
        torch.mul(rows, signs, out=padded[:, : self.d])
        mixed = left @ padded.reshape(-1, a, b) @ right
        return mixed.flatten(1)[:, picked] / math.sqrt(self.k)

    def adjoint(self, rows: Tensor) -> Tensor:
        if self.d > FORMED and len(rows) > 1:
            return torch.cat([self.adjoint(row) for row in torch.split(rows, 1)])
        signs, left, right, picked = self._on(rows)
        (a, _), (b, _) = left.shape, right.shape
        spread = rows.new_zeros((len(rows), a * b))
        spread[:, picked] = rows / math.sqrt(self.k)
        mixed = left @ spread.reshape(-1, a, b) @ right  # Sylvester's matrices are symmetric
        return mixed.flatten(1)[:, : self.d] * signs

    def _on(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Signs, Hadamard matrices and picked entries, where the rows are and as precise."""
        key = (rows.device, rows.dtype)
        if key not in self._parts:
            power = max(1, math.ceil(math.log2(self.d)))
            a, b = 2 ** (power // 2), 2 ** (power - power // 2)
            order = np.argsort(self._philox("picked").random_raw(a * b), kind="stable")
            picked = torch.from_numpy(np.sort(order[: self.k]))
            signs, left, right = (
                part.to(rows.device, rows.dtype)
                for part in (self._signs("signs", self.d), _hadamard(a), _hadamard(b))
            )
            self._parts[key] = (signs, left, right, picked.to(rows.device))
        return self._parts[key]

    @cached_property
    def _parts(self) -> dict[Any, tuple[Tensor, Tensor, Tensor, Tensor]]:
        return {}


@dataclass(frozen=True)
class TwoSided(Sketch):
    """Y = P_o G P_iᵀ of a block of this shape, [out, in]."""

    shape: tuple[int, int]
    k_out: int
    k_in: int

    @property
    def columns(self) -> int:
        return self.k_out * self.k_in

    def __call__(self, rows: Tensor) -> Tensor:
        left, right = self.sides(rows)
        return (left @ rows.reshape(-1, *self.shape) @ right.T).flatten(1)

    def adjoint(self, rows: Tensor) -> Tensor:
        left, right = self.sides(rows)
        return (left.T @ rows.reshape(-1, self.k_out, self.k_in) @ right).flatten(1)

    def sides(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """P_o [k_o, out] and P_i [k_i, in], where `like` is and as precise."""
        key = (like.device, like.dtype)
        if key not in self._sides:
            (out, width), sides = self.shape, []
            for what, k, size in (("out", self.k_out, out), ("in", self.k_in, width)):
                side = torch.eye(size) if k == size else self._signs(what, k, size) / math.sqrt(k)
                sides.append(side.to(like.device, like.dtype))
            self._sides[key] = (sides[0], sides[1])
        return self._sides[key]

    @cached_property
    def _sides(self) -> dict[Any, tuple[Tensor, Tensor]]:
        return {}


def _sides(shape: tuple[int, ...], k: int) -> tuple[int, int]:
    """k_o and k_i whose product is about k, as near to each other as the shape allows: the error is
    about 1/k_o + 1/k_i."""
    out, width = shape
    k_out = min(out, max(1, round(math.sqrt(k)), -(-k // width)))
    return k_out, min(width, max(1, round(k / k_out)))


def _hadamard(size: int) -> Tensor:
    """Sylvester's matrix of ±1, [size, size], size a power of two."""
    H = torch.ones((1, 1))
    while len(H) < size:
        H = torch.cat([torch.cat([H, H], dim=1), torch.cat([H, -H], dim=1)])
    return H
