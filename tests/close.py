"""How near the gradients of a batch are to those of its examples alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from datainf.gradients.engine import FallbackWarning, PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.gradients.verify import each_alone
from datainf.tasks import Task
from support import FLOOR, ORDER, SIZES

Gradients = dict[str, torch.Tensor]


def eight_mixed(rows: Sequence[Any]) -> list[Any]:
    """Eight rows, short beside long."""
    return [rows[i % len(rows)] for i in ORDER]


def device_of(chosen: dict[str, nn.Parameter]) -> torch.device:
    """Where batches go: to the first of the parameters, as in a collection."""
    return next(iter(chosen.values())).device


def alone(model: nn.Module, task: Task, rows: Sequence[Any]) -> Gradients:
    """Name → [rows, d_l], by plain autograd on one example after another."""
    chosen = select(model)
    with evaluating(model):
        return each_alone(model, chosen, task, rows, device_of(chosen)).gradients


def batched(model: nn.Module, task: Task, rows: Sequence[Any], size: int) -> Gradients:
    """Name → [rows, d_l] in batches of `size`, checked at their start, no fallback allowed."""
    chosen = select(model)
    engine = PerExample(model, chosen, task, device_of(chosen), fallback=False)
    with evaluating(model), warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        engine.check(rows[:3])
        parts = [engine(rows[i : i + size]).gradients for i in range(0, len(rows), size)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def error(found: Gradients, truth: Gradients) -> float:
    """The worst of any block of any example, relative to the block's norm, or to 1 % of the
    example's whole gradient if that is larger."""
    floor = FLOOR * torch.cat([*truth.values()], dim=1).norm(dim=1).clamp_min(1e-30)
    return max(
        float(((found[n] - right).norm(dim=1) / right.norm(dim=1).clamp_min(floor)).max())
        for n, right in truth.items()
    )


def worst_error(model: nn.Module, task: Task, rows: Sequence[Any]) -> float:
    """In batches of one, three and eight, beside each example alone."""
    truth = alone(model, task, rows)
    return max(error(batched(model, task, rows, size), truth) for size in SIZES)


def worst_error_run_again(model: nn.Module, task: Task, rows: Sequence[Any], kind: str) -> float:
    """The same where modules of a kind run again, one example after another, and say so; the rest
    of the model goes in batches."""
    chosen = select(model)
    engine = PerExample(model, chosen, task, device_of(chosen))
    truth = alone(model, task, rows)
    with evaluating(model):
        with pytest.warns(FallbackWarning, match=f"{kind}.*run again"):
            engine.check(rows[:3])
        parts = {
            size: [engine(rows[i : i + size]).gradients for i in range(0, len(rows), size)]
            for size in SIZES
        }
    assert not engine.alone
    return max(
        error({n: torch.cat([p[n] for p in some]) for n in truth}, truth) for some in parts.values()
    )
