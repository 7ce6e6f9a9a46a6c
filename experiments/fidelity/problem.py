"""What is fine-tuned, and what is asked of it: all that training and scoring need to know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from datainf.tasks import Task
from experiments.fidelity.settings import Kind, Recipe

Losses = Callable[[nn.Module], Tensor]
"""model → the losses of all queries, [m]."""
StepLoss = Callable[[nn.Module, list[int], torch.Generator], Tensor]
"""(model, training rows, generator) → the mean loss of a step on these rows."""


@dataclass(frozen=True)
class Problem:
    """A fine-tuning and its queries."""

    name: str
    kind: Kind
    recipe: Recipe
    task: Task
    train: list[Any]
    query: list[Any]
    fresh: Callable[[int], nn.Module]
    """The base with a new adapter, whose weights are of a seed; the adapter alone is trained."""
    step_loss: StepLoss
    losses: Losses
    groups: tuple[list[Any], list[Any]] | None = None
    """The class of every query, and of every training row as it was given."""
    texts: tuple[list[str], list[str]] | None = None
    """What BM25 reads of the queries and of the training rows."""
    flipped: list[bool] | None = None
    about: dict[str, Any] = field(default_factory=dict)
    """More that decides what a training finds, as plain values."""


def losses_of(task: Task, rows: Sequence[Any], at_once: int = 50) -> Losses:
    """By the task itself, in the rows' order."""

    def losses(model: nn.Module) -> Tensor:
        return torch.cat([
            task.losses(model, task.collate(rows[start : start + at_once]))
            for start in range(0, len(rows), at_once)
        ])  # fmt: skip

    return losses
