"""Symmetric products by half the work: tiles of rows on and below the diagonal, then mirrored."""

from __future__ import annotations

from torch import Tensor

TILES, SMALLEST_TILE = 16, 128
"""A product is cut into so many tiles, (1 + 1/16)/2 of the work, none smaller than the machine
multiplies well."""


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


def _tiles(k: int) -> list[slice]:
    step = max(SMALLEST_TILE, -(-k // TILES))
    return [slice(start, min(k, start + step)) for start in range(0, k, step)]
