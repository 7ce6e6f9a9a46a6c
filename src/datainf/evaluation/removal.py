"""Drop the examples that a method names, train again, and see what becomes of the queries.

For each method the k training examples with the highest mean score over the queries are left out,
and in another training the k with the lowest; the change of the queries' losses is that against
training on all, with the same seeds. Leaving out what helped should raise losses, leaving out what
harmed should lower them, both by more than leaving out k at random does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datainf.errors import OptionError
from datainf.evaluation.lds import LEVEL, RESAMPLES

RANDOM = "random"
DRAWS = 3
"""How often as many are left out at random."""
Losses = Callable[[Tensor], Tensor]
"""parts bool [S, n] → the queries' losses under models trained on them, [S, seeds, m]."""


@dataclass(frozen=True)
class Change:
    """The mean change of the queries' losses, in their own unit, with its bootstrap interval at
    the level 0.95 over seeds and queries (None for one loss alone); positive = they rose."""

    mean: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.low is None:
            return f"{self.mean:+.4f}"
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


@dataclass(frozen=True)
class Removal:
    """What leaving out a method's k most helpful and k most harmful examples did; chance has no
    ends, and the same in both."""

    helpful: Change
    harmful: Change


def removal(
    scores: Mapping[str, Tensor], k: int, losses: Losses, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Removal]:
    """What leaving out k examples does, name → `Removal`, with `random` among them.

    Args:
        scores: name → [m, n], positive = helpful; their mean over queries ranks the examples.
        k: Examples left out.
        losses: Trains on parts, or knows what came of it: `GroundTruth.losses` with its seeds and
            trainer, and the queries that are reported.
        draws: Of k examples at random.
        seed: Of these, and of the bootstrap.

    Raises:
        OptionError: k that leaves no example, or none out.
    """
    n = next(iter(scores.values())).shape[1]
    if not 0 < k < n:
        raise OptionError(f"{k} of {n} examples cannot be left out", remedy=f"from 1 to {n - 1}")
    dropped: dict[str, list[Tensor]] = {}
    for name, values in scores.items():
        order = values.double().mean(dim=0).argsort(descending=True, stable=True)
        dropped[name] = [order[:k], order[-k:]]
    dropped[RANDOM] = [
        torch.from_numpy(np.random.default_rng([seed, draw]).permutation(n)[:k].copy())
        for draw in range(draws)
    ]
    parts = [torch.ones(n, dtype=torch.bool)]
    for rows in (rows for found in dropped.values() for rows in found):
        parts.append(torch.ones(n, dtype=torch.bool).index_fill(0, rows, False))
    found = losses(torch.stack(parts)).double()
    changes = iter(found[1:] - found[0])
    out = {}
    for name, ends in dropped.items():
        own = [next(changes) for _ in ends]
        if name == RANDOM:
            own = [torch.cat(own)] * 2
        out[name] = Removal(*(_change(change, seed) for change in own))
    return out


def _change(values: Tensor, seed: int) -> Change:
    """Of changes [trainings, m]."""
    table, draw = values.numpy(), np.random.default_rng(seed)
    trainings, m = table.shape
    if table.size == 1:
        return Change(float(table.mean()), None, None)
    means = [
        table[draw.integers(trainings, size=trainings)][:, draw.integers(m, size=m)].mean()
        for _ in range(RESAMPLES)
    ]
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Change(float(table.mean()), float(low), float(high))
