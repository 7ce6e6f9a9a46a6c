"""What each example's own gradient costs beside a plain forward and backward pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import nn

from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.tasks import Task

ROWS, BATCH, ROUNDS = 48, 16, 4


def beside_training(model: nn.Module, task: Task, rows: Sequence[Any]) -> dict[str, float]:
    """Median seconds a batch: a plain pass that gives the mean loss's gradients (`training`), and
    every example's own (`gradients`); and the median of the ratios of the two, batch by batch,
    the one right behind the other and either first in turn."""
    examples = sorted((task.encode(row) for row in rows[:ROWS]), key=task.length)
    groups = [examples[start : start + BATCH] for start in range(0, len(examples), BATCH)]
    chosen = select(model)
    device = next(iter(chosen.values())).device

    def training(group: list[Any]) -> None:
        batch = {name: value.to(device) for name, value in task.collate(group).items()}
        torch.autograd.grad(task.losses(model, batch).mean(), list(chosen.values()))

    with evaluating(model):
        engine = PerExample(model, chosen, task, device)
        engine.check(examples[:3])
        training(groups[-1])
        ways: dict[str, Callable[[list[Any]], object]] = {"training": training, "gradients": engine}
        times = []
        for turn in range(ROUNDS):
            order = list(ways)[:: -1 if turn % 2 else 1]
            times += [{way: _seconds(ways[way], group) for way in order} for group in groups]
    return {way: median(pair[way] for pair in times) for way in ways} | {
        "ratio": median(pair["gradients"] / pair["training"] for pair in times)
    }


def _seconds(call: Callable[[list[Any]], object], group: list[Any]) -> float:
    started = time.perf_counter()
    call(group)
    return time.perf_counter() - started
