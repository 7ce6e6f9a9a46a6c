"""DataInf's scores beside the released loops and beside the bare matrix products.

In turn, medians of five rounds. The bare products are given what helps them, here blocks side by
side, a core each. The store was just written: it is read from memory's cache of the disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import datainf
from benchmarks.timing import alternating
from benchmarks.works import llama
from datainf.estimators import DataInf
from datainf.linalg import Damping, from_dense
from datainf.scoring import in_parallel
from experiments.cost import released

ROWS, QUERIES, LOOPED = 1000, 50, 2
"""Training examples; queries; and those of them that the loops are run for, which is in proportion:
they take one query after another."""


def run(_: Path | None) -> dict[str, Any]:
    work, asked = llama(ROWS), llama(QUERIES, seed=2)
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "train", Path(folder) / "query"
        for path, one in zip(paths, (work, asked), strict=True):
            datainf.collect(one.model, one.rows, one.task, out=path)
        train, query = (datainf.GradientStore.open(path) for path in paths)
        G, V = ({n: b.to_dense() for n, b in s.blocks.items()} for s in (train, query))
        loops, one_query = released.from_store(train), released.from_store(query)[:LOOPED]

        def stored() -> None:
            datainf.attribute(*map(datainf.GradientStore.open, paths), "datainf")

        times = alternating(
            {
                "released loops": lambda: [
                    released.datainf_loop(loops, v).scores for v in one_query
                ],
                "bare products": lambda: products(G, V),
                "in memory": lambda: in_memory(G, V),
                "from disk": stored,
            }
        )
    times["released loops"] *= QUERIES / LOOPED
    return times


def products(G: Mapping[str, Tensor], V: Mapping[str, Tensor]) -> Tensor:
    """The three that DataInf cannot do without, of every block."""

    def some(names: Iterable[str]) -> Tensor:
        total = torch.zeros((QUERIES, ROWS))
        for name in names:
            g = G[name]
            total += ((V[name] @ g.T) @ g) @ g.T  # the fastest order of their sides
        return total

    return sum(in_parallel(some, list(G), torch.device("cpu")), torch.zeros(()))


def in_memory(G: Mapping[str, Tensor], V: Mapping[str, Tensor]) -> Tensor:
    """As `datainf.attribute` does it, but for the reading."""

    def some(names: Iterable[str]) -> Tensor:
        total = torch.zeros((QUERIES, ROWS))
        for name in names:
            block = from_dense(G[name])
            total += DataInf().fit(block).scores(V[name], Damping().lambda_of(block)).values
        return total

    return sum(in_parallel(some, list(G), torch.device("cpu")), torch.zeros(()))


def lines(found: dict[str, Any]) -> list[str]:
    bare, loops = found["bare products"], found["released loops"]
    table = [
        f"n = {ROWS:,}, m = {QUERIES}, the Llama's LoRA: 49,152 parameters in 24 matrices. The "
        f"loops were run for {LOOPED} queries and count for all of them in proportion.",
        "",
        "| way | seconds | ÷ bare products | released loops ÷ |",
        "|---|---|---|---|",
    ]
    for way, seconds in found.items():
        table.append(f"| {way} | {seconds:.3f} | {seconds / bare:.2f} | {loops / seconds:,.0f} |")
    return table
