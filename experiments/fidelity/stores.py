"""The fine-tuning that is asked about: on all rows, with gradient stores of its checkpoints."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import datainf
from datainf import GradientStore
from experiments.fidelity.problem import Problem, losses_of
from experiments.fidelity.training import Snapshot, train

SEED = 0
"""Of this training; the ground truth has others."""


@dataclass(frozen=True)
class Point:
    """A checkpoint: its stores, and the sum of the learning rates of the steps nearest to it."""

    epoch: int
    train: GradientStore
    query: GradientStore
    curvature: GradientStore
    rate_sum: float


@dataclass(frozen=True)
class Tuned:
    """`before`: losses of training rows and queries under the base with the new adapter."""

    model: nn.Module
    points: list[Point]
    before: tuple[Tensor, Tensor]
    seconds: float


def tuned(problem: Problem, folder: Path) -> Tuned:
    """Train, and collect at the kept epochs and after the last."""
    started = time.perf_counter()
    keep = (*problem.recipe.keep, problem.recipe.epochs)
    everything = range(len(problem.train))
    done = train(problem, everything, SEED, keep)
    seconds = time.perf_counter() - started
    shares = rate_sums(done.rates, [snapshot.step for snapshot in done.snapshots])
    points = [
        Point(snapshot.epoch, *_collected(problem, done.model, snapshot, folder), share)
        for snapshot, share in zip(done.snapshots, shares, strict=True)
    ]
    fresh = problem.fresh(SEED).eval()
    with torch.no_grad():
        before = [losses_of(problem.task, rows)(fresh) for rows in (problem.train, problem.query)]
    return Tuned(done.model, points, (before[0], before[1]), seconds)


def rate_sums(rates: list[float], steps: list[int]) -> list[float]:
    """The learning rates of all steps, each given to the nearest of the checkpoints, summed."""
    every = torch.arange(1, len(rates) + 1)
    nearest = (every[:, None] - torch.tensor(steps)).abs().argmin(dim=1)
    return [float(sum(rates[i] for i in (nearest == k).nonzero()[:, 0])) for k in range(len(steps))]


def _collected(
    problem: Problem, model: nn.Module, snapshot: Snapshot, folder: Path
) -> tuple[GradientStore, GradientStore, GradientStore]:
    model.load_state_dict(snapshot.weights, strict=False)
    where = folder / f"epoch-{snapshot.epoch}"
    moments = snapshot.moments
    return (
        datainf.collect(
            model, problem.train, problem.task, out=where / "train", second_moments=moments
        ),
        datainf.collect(model, problem.query, problem.task, out=where / "query"),
        datainf.collect_curvature(model, problem.train, problem.task, out=where / "curvature"),
    )
