"""Symmetric products by half the work: tiles of rows on and below the diagonal, then mirrored."""

from __future__ import annotations

from threading import Lock

import torch
from torch import Tensor

from datainf.errors import OptionError
from datainf.memory import available

TILES, SMALLEST_TILE = 16, 128
"""A product is cut into so many tiles, (1 + 1/16)/2 of the work, none smaller than the machine
multiplies well."""

_TAKING = Lock()
"""Held from asking what is free until it is taken: blocks that are worked on at one time would each
find room that is there only once."""


def zeros(
    size: int, dtype: torch.dtype, device: torch.device, of: str, count: int = 1
) -> list[Tensor]:
    """So many matrices of zeros [size, size], for a sum of products `of` something and what is made
    of it.

    Raises `OptionError` where memory would not hold all of them.
    """
    with _TAKING:
        require(size, count * dtype.itemsize, device, of)
        # Zeros are written, so that from here on they count as taken.
        return [torch.zeros((size, size), dtype=dtype, device=device) for _ in range(count)]


def require(size: int, entry_bytes: int, device: torch.device, of: str) -> None:
    """Raise `OptionError` unless memory has room for so many bytes for each of size × size
    entries."""
    needed, free = size * size * entry_bytes, available(device)
    if needed > free:
        raise OptionError(
            f"the matrix of {of}, {size:,} × {size:,}, takes {needed / 2**30:.1f} GiB of memory; "
            f"{free / 2**30:.1f} GiB are free",
            remedy="--method cg or ridge, which do not form it; or smaller --blocks, tensor in "
            "place of model; or fewer --curvature-rows, with gauss-newton; or a store that is "
            "projected, --project 16",
        )


def add_lower(S: Tensor, A: Tensor, B: Tensor) -> None:
    """Add A B, which is symmetric, to S [k, k]; above the diagonal only within the tiles on it.

    A [k, l], B [l, k].
    """
    for rows in _tiles(len(S)):
        S[rows, : rows.stop].addmm_(A[rows], B[:, : rows.stop])


def mirrored(S: Tensor) -> Tensor:
    """S [k, k] with what is below the diagonal above it too, in place."""
    for rows in _tiles(len(S)):
        S[: rows.start, rows] = S[rows, : rows.start].T
        tile = S[rows, rows]
        tile.copy_(tile.tril() + tile.tril(-1).T)
    return S


def share(k: int) -> float:
    """The part of a product [k, k] that `add_lower` computes."""
    computed: int = sum((rows.stop - rows.start) * rows.stop for rows in _tiles(k))
    return computed / k**2


def _tiles(k: int) -> list[slice]:
    step = max(SMALLEST_TILE, -(-k // TILES))
    return [slice(start, min(k, start + step)) for start in range(0, k, step)]
