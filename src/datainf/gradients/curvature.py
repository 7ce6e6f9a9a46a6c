"""collect_curvature: model + data set → a store of gradients whose second moment is the
Gauss–Newton matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datainf.errors import OptionError
from datainf.gradients import survey
from datainf.gradients.collect import prepare
from datainf.gradients.collector import OnNonfinite
from datainf.gradients.pending import PendingStore
from datainf.progress import Progress, Silent
from datainf.projection import Projection
from datainf.store import GradientStore
from datainf.tasks import Task
from datainf.tasks.sampled import DRAW, EXAMPLE, Sampled

FEWEST, MOST, SHARE, DRAWS = 300, 1000, 1.25, 4
"""Gradients of drawn targets that a curvature is estimated from, unless told otherwise: so many of
each example between the fewest and the most; of one example never more than the last."""


def default_rows(n: int) -> int:
    """For n examples. More than these told nothing more that training again would show, and the
    cost of a solve grows with their square."""
    return max(1, min(MOST, DRAWS * n, max(FEWEST, math.ceil(SHARE * n))))


def collect_curvature(
    model: nn.Module,
    dataset: Sequence[Any],
    task: Task,
    *,
    out: str | Path,
    rows: int | None = None,
    seed: int = 0,
    trainable: str | None = None,
    dtype: torch.dtype | str | None = None,
    project: int | Projection | None = None,
    batch_tokens: int | None = None,
    shard_rows: int | None = None,
    second_moments: Mapping[str, Tensor] | None = None,
    on_nonfinite: OnNonfinite = "stop",
    notes: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> GradientStore:
    """Gradients of the training examples with targets that the model itself draws, on disk.

    Their mean outer product estimates the Gauss–Newton matrix of the training loss, which is the
    Fisher information too: what `attribute(curvature=…)` inverts. It is continued after an
    interruption as any store is.

    Args:
        model, task, out, trainable, dtype, project, batch_tokens, shard_rows, second_moments,
            on_nonfinite, notes, progress: As for `collect`; made smaller as the training gradients
            are.
        dataset: The training data.
        rows: How many gradients. Of a larger data set, a random part with one draw each; a smaller
            one is gone through several times, with other targets each time. By default
            `default_rows`.
        seed: Of which examples, and of their targets.

    Raises:
        ModelError: a task whose loss is no likelihood that targets can be drawn from.
        OptionError: no rows. And all that `collect` raises.
    """
    progress = progress or Silent()
    return prepare_curvature(
        model, dataset, task, out=out, rows=rows, seed=seed, trainable=trainable, dtype=dtype,
        project=project, batch_tokens=batch_tokens, shard_rows=shard_rows,
        second_moments=second_moments, on_nonfinite=on_nonfinite, notes=notes, progress=progress,
    ).collect(progress)  # fmt: skip


def prepare_curvature(
    model: nn.Module,
    dataset: Sequence[Any],
    task: Task,
    *,
    out: str | Path,
    rows: int | None = None,
    seed: int = 0,
    progress: Progress,
    **options: Any,
) -> PendingStore:
    """`collect_curvature` up to the first gradient; `options` are those that it shares with
    `collect`."""
    if rows is None:
        rows = default_rows(len(dataset))
    if rows < 1:
        raise OptionError(f"a curvature needs at least one row, got {rows}", remedy=f"{MOST}")
    drawn: Any = _Drawn(dataset, rows, seed)
    return prepare(model, drawn, Sampled(task, seed), out=out, progress=progress, **options)


class _Drawn:
    """`rows` of a data set's examples, each with the number of its draw."""

    def __init__(self, dataset: Sequence[Any], rows: int, seed: int) -> None:
        self.dataset = dataset
        n = max(1, len(dataset))  # of none, `collect` tells
        times, rest = divmod(rows if len(dataset) else 0, n)
        some = sorted(np.random.default_rng(seed).permutation(n)[:rest].tolist())
        self.places = [(row, draw) for draw in range(times) for row in range(n)]
        self.places += [(row, times) for row in some]

    @property
    def ids(self) -> list[str]:
        return [f"{row}, draw {draw}" for row, draw in self.places]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, position: int) -> dict[str, Any]:
        row, draw = self.places[position]
        return {EXAMPLE: self.dataset[row], DRAW: [row, draw]}  # of two alike, each has its own

    def where(self, position: int) -> str:
        """An example as the data set names it."""
        return survey.where(self.dataset, self.places[position][0])
