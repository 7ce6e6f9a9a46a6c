"""How a store's rows are laid out: as numbers of which kind, how many of them, in which shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from datainf.gradients.parameters import Site
from datainf.gradients.reduction import Reductions, projected
from datainf.gradients.rules import linear
from datainf.projection import Projection
from datainf.store import Block, Index

SHARD_ROWS, SHARD_BYTES = 1024, 4 * 2**30
"""Upper bounds on a shard: the work that a kill can cost, and a file's size. Batches of like
lengths are made of a shard's examples, so fewer of them would mean more padding."""


def laid_out(
    index: Index,
    dtype: torch.dtype,
    projection: Projection | None,
    *,
    shard_rows: int | None = None,
) -> Index:
    """The index of the same gradients stored as `dtype` and projected, or not, with no shard yet;
    however they were laid out before."""
    blocks = [replace(block, kept=None) for block in index.blocks]
    if projection is not None:
        blocks = [projected(block, projection) for block in blocks]
    found = replace(
        index,
        dtype=str(dtype).removeprefix("torch."),
        blocks=blocks,
        projection=None if projection is None else projection.to_json(),
        shards=[],
    )
    found.shard_rows = shard_rows or default_shard_rows(found.n, found.row_bytes)
    return found


def default_shard_rows(n: int, row_bytes: int) -> int:
    """Examples a shard, of as many in each as the bounds allow."""
    most = max(1, min(SHARD_ROWS, SHARD_BYTES // row_bytes))
    return -(-n // -(-n // most))


def held_bytes(
    blocks: Sequence[Block], reductions: Reductions, sites: Sequence[Site], itemsize: int
) -> int:
    """What an example's gradients take while its batch is computed, in numbers of `itemsize` bytes:
    as stored, and of one block at a time as formed."""
    unformed = _unformed(reductions, sites)
    formed = [b.width for b in blocks if b.name in reductions and b.name not in unformed]
    return itemsize * (sum(block.columns for block in blocks) + max(formed, default=0))


def _unformed(reductions: Reductions, sites: Sequence[Site]) -> set[str]:
    """Blocks that are projected before the product of their sides is formed; not where a tied
    parameter is used by another kind of module too."""
    found, others = set[str](), set[str]()
    for site in sites:
        sides = reductions.get(site.blocks.get("weight", ""))
        is_unformed = site.rule is linear and sides is not None and sides.sides is not None
        for local, name in site.blocks.items():
            (found if is_unformed and local == "weight" else others).add(name)
    return found - others
