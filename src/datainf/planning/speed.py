"""How fast this machine multiplies and reads, by a few products of the shapes that scoring has."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from datainf.planning.costs import FACTORED, SINGLE, Scoring

ROWS, WIDTH, SIDE, READ = 512, 4096, 768, 2**24
"""Of the products: rows [ROWS, WIDTH] with queries, a square of SIDE; and numbers that are read."""
QUERIES = 512
"""No more than these make a product any faster."""
REPEATS = 3


@dataclass(frozen=True)
class Speed:
    """Operations a second of thin and of square products, and bytes a second of rows."""

    thin: float
    square: float
    read: float

    def seconds(self, scoring: Scoring) -> float:
        work = scoring.work
        return (
            work.thin / self.thin + work.square / self.square + SINGLE * work.read / self.read
        )  # fmt: skip


def measured(scoring: Scoring) -> Speed:
    """On the CPU, where scoring is; takes some tenths of a second."""
    m = min(scoring.m, QUERIES)
    products = torch.float64 if scoring.method == "exact" else torch.float32
    factors = torch.float64 if scoring.method in FACTORED else torch.float32
    G, V = torch.ones((ROWS, WIDTH), dtype=products), torch.ones((WIDTH, m), dtype=products)
    S, rows = torch.ones((SIDE, SIDE), dtype=factors), torch.ones(READ)
    return Speed(
        2 * ROWS * WIDTH * m / _seconds(lambda: G @ V),
        2 * SIDE**3 / _seconds(lambda: S @ S),
        SINGLE * READ / _seconds(lambda: rows.clone()),
    )


def _seconds(work: Callable[[], object]) -> float:
    """The shortest of several times, after one to warm up."""
    work()
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)
