"""Gradient stores of given numbers, made smaller, that keep some examples in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from datainf import GradientStore
from datainf.gradients.reduction import projected, reduced, reductions_of
from datainf.projection import Projection
from datainf.second_moments import save_moments
from datainf.store import SAMPLE, Block, Index
from datainf.store.shards import IDS
from datainf.store.writer import writer

SHAPES = {"first.A": (4, 30), "first.B": (40, 4), "second.A": (7,)}
CLASSIFICATION: dict[str, Any] = {"name": "classification"}


def random_gradients(n: int, seed: int) -> dict[str, Tensor]:
    """Of a few directions, as gradients are, and noise; [n, d_l] a block."""
    draw = torch.Generator().manual_seed(seed)
    shared = torch.Generator().manual_seed(99)
    found = {}
    for name, shape in SHAPES.items():
        d = torch.Size(shape).numel()
        directions = torch.randn((6, d), generator=shared)
        found[name] = torch.randn((n, 6), generator=draw) @ directions
        found[name] += torch.randn((n, d), generator=draw)
    return found


def make_smaller(
    folder: Path, gradients: Mapping[str, Tensor], dtype: str = "float32",
    projection: Projection | None = None, *, kept: Sequence[int] = (),
    moments: Mapping[str, Tensor] | None = None, task: Mapping[str, Any] = CLASSIFICATION,
    ids: Sequence[int | str] | None = None, shard_rows: int = 16,
) -> GradientStore:  # fmt: skip
    """A store of gradients [n, d_l], rows `kept` of it in full beside it."""
    n = len(next(iter(gradients.values())))
    ids = list(range(n)) if ids is None else list(ids)
    blocks = [Block(name, SHAPES[name], name.rpartition(".")[0]) for name in gradients]
    rows = reduced(gradients, reductions_of(projection, blocks, moments, torch.device("cpu")))
    index = Index(
        n=n,
        dtype=dtype,
        blocks=[b if projection is None else projected(b, projection) for b in blocks],
        fingerprints=dict.fromkeys(("base", "adapter", "data", "task"), ""),
        shard_rows=shard_rows,
        projection=None if projection is None else projection.to_json(),
        task=dict(task),
    )
    with writer(folder, index) as store:
        for missing in store.index.missing():
            part = slice(missing.start, missing.stop)
            store.append({k: G[part] for k, G in rows.items()}, ids[part], torch.zeros(n)[part])
        if moments is not None:
            save_moments(folder, moments)
    if kept:
        make_smaller(
            folder / SAMPLE, {name: G[kept] for name, G in gradients.items()}, moments=moments,
            task=task, ids=[ids[row] for row in kept],
        )  # fmt: skip
    return GradientStore.open(folder)


def rows_bytes(folder: Path) -> int:
    """Of all that a store's shards hold of its rows: gradients, losses, norms, scales; no ids."""
    shards = [load_file(path) for path in folder.glob("shard-*.safetensors")]
    return sum(t.nbytes for shard in shards for name, t in shard.items() if name != IDS)
