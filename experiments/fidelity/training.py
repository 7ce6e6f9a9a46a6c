"""One training of a problem's adapter on some of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import transformers
from torch import Tensor, nn

from experiments.fidelity.problem import Problem


@dataclass(frozen=True)
class Snapshot:
    """What a Trainer's checkpoint holds: weights and Adam's second moments v̂ by parameter name."""

    epoch: int
    step: int
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]


@dataclass(frozen=True)
class Trained:
    model: nn.Module
    snapshots: list[Snapshot]
    rates: list[float]
    """The learning rate of every step."""


def train(problem: Problem, rows: Sequence[int], seed: int, keep: Sequence[int] = ()) -> Trained:
    """Train on these rows alone; the model is in evaluation mode then.

    keep: epochs after which a snapshot is kept.
    """
    recipe = problem.recipe
    generator = torch.Generator().manual_seed(seed)
    model = problem.fresh(seed).train()
    learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(learned.values(), lr=recipe.learning_rate, weight_decay=0.0)
    each = -(-len(rows) // recipe.batch)
    schedule = transformers.get_linear_schedule_with_warmup(
        optimizer, round(recipe.warmup * each * recipe.epochs), each * recipe.epochs
    )
    rates, snapshots = [], []
    for epoch in range(1, recipe.epochs + 1):
        order = [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()]
        for start in range(0, len(order), recipe.batch):
            loss = problem.step_loss(model, order[start : start + recipe.batch], generator)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(learned.values(), 1.0)
            rates.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if epoch in keep:
            snapshots.append(_snapshot(epoch, len(rates), learned, optimizer))
    return Trained(model.eval(), snapshots, rates)


def _snapshot(
    epoch: int, step: int, learned: dict[str, nn.Parameter], optimizer: torch.optim.AdamW
) -> Snapshot:
    beta = optimizer.param_groups[0]["betas"][1]
    return Snapshot(
        epoch,
        step,
        {name: p.detach().clone() for name, p in learned.items()},
        {name: optimizer.state[p]["exp_avg_sq"] / (1 - beta**step) for name, p in learned.items()},
    )
