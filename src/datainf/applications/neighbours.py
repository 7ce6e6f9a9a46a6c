"""Which examples move a model in the same direction, or in the opposite one: neighbours by the
cosine of their gradients.

Gradients are first made smaller by random projections that keep inner products
(`datainf.projection`), so that the rows of a large store fit in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from datainf.projection import Hadamard
from datainf.store import GradientStore

COLUMNS = 1024
"""Numbers that a row is made of, at about which a cosine is known to .03."""
FEWEST = 8
"""Of a tensor."""
CHUNK_BYTES = 64 * 2**20
PART = 256
"""Examples that are compared together with all that stay before them."""


@dataclass(frozen=True)
class Neighbours:
    """Of each of n examples the k whose gradients are nearest to its own or to its negative:
    rows [n, k], int64, and cosines [n, k], float32, the largest |cosine| first."""

    rows: Tensor
    cosines: Tensor

    @property
    def agreement(self) -> Tensor:
        """Σ_j cos_ij / Σ_j |cos_ij| over the neighbours j of i, [n], float64, in [-1, 1]: below 0
        where those that are most like an example would undo what is learned of it; 0 of none."""
        cosines = self.cosines.double()
        size = cosines.abs().sum(dim=1)
        return cosines.sum(dim=1) / torch.where(size > 0, size, 1)


def directions(store: GradientStore, columns: int = COLUMNS, seed: int = 0) -> Tensor:
    """Directions of the examples' gradients, [n, about `columns`] or as many as they have, float32,
    of norm 1; a zero gradient stays zero."""
    total = sum(block.columns for block in store.index.blocks)
    parts = []
    for block in store.index.blocks:
        G = store.blocks[block.name]
        keep = max(FEWEST, round(columns * block.columns / total))
        if total <= columns or keep >= block.columns:
            parts.append(G.to(torch.float32).to_dense())
            continue
        sketch = Hadamard(block.name, seed, block.columns, keep)
        out = torch.empty((len(store), keep))
        for rows, chunk in G.to(torch.float32).chunks(CHUNK_BYTES):
            out[rows] = sketch(chunk)
        parts.append(out)
    return torch.nn.functional.normalize(torch.cat(parts, dim=1), dim=1, eps=1e-30)


def neighbours(Z: Tensor, k: int, advance: Callable[[int], None] = lambda _: None) -> Neighbours:
    """Of directions Z [n, c], as `directions` gives them; k < n."""
    n = len(Z)
    k = min(k, max(0, n - 1))
    rows, cosines = torch.empty((n, k), dtype=torch.int64), torch.empty((n, k))
    step = max(1, CHUNK_BYTES // (4 * max(1, n)))
    for start in range(0, n, step):
        stop = min(n, start + step)
        S = Z[start:stop] @ Z.T
        size = S.abs()
        size[torch.arange(stop - start), torch.arange(start, stop)] = -1  # itself
        near = size.topk(k, dim=1).indices
        rows[start:stop], cosines[start:stop] = near, S.gather(1, near)
        advance(stop - start)
    return Neighbours(rows, cosines)


def without_near_duplicates(
    Z: Tensor, order: Tensor, most: float, wanted: int | None = None, pinned: int = 0
) -> Tensor:
    """Rows of `order`, best first, without those whose direction has a cosine above `most` with one
    that stands before them and stays; no more than `wanted`, if that is given. The first `pinned`
    stay, whatever is like them."""
    stay: list[int] = []
    kept = torch.empty((len(order), Z.shape[1]))
    for part in torch.split(order, PART):
        first, own = len(stay), Z[part]
        clear = (_cosines(kept[:first], own.T) <= most).all(dim=0)
        for row, direction, alone in zip(part.tolist(), own, clear.tolist(), strict=True):
            if len(stay) == wanted:
                break
            if len(stay) < pinned or (
                alone and bool((_cosines(kept[first : len(stay)], direction) <= most).all())
            ):
                kept[len(stay)] = direction
                stay.append(row)
    return torch.tensor(stay, dtype=torch.int64)


def nearest(
    Z: Tensor, rows: Sequence[int], stay: Tensor, before: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Of each of some rows, whose direction is most like its own among the first so many of those
    that `stay`, at least one: that one's row [n], int64, and the cosine [n], float32."""
    if not rows:
        return torch.empty(0, dtype=torch.int64), torch.empty(0)
    kept, found = Z[stay], list[torch.return_types.max]()
    parts = (torch.split(torch.tensor(one), PART) for one in (rows, before))
    for own, count in zip(*parts, strict=True):
        S = _cosines(Z[own], kept.T)
        S[torch.arange(len(stay)) >= count[:, None]] = -torch.inf
        found.append(S.max(dim=1))
    return stay[torch.cat([one.indices for one in found])], torch.cat([one.values for one in found])


def _cosines(Z: Tensor, others: Tensor) -> Tensor:
    """Of directions; none is above 1, whatever the rounding."""
    return (Z @ others).clamp(max=1)
