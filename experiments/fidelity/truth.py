"""The ground truth of a problem: trained again on random halves, kept line by line."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from datainf.evaluation import GroundTruth, random_parts
from datainf.progress import Progress
from experiments.fidelity.problem import Problem
from experiments.fidelity.training import train


def truth_of(problem: Problem, folder: Path) -> GroundTruth:
    recipe = {name: value for name, value in asdict(problem.recipe).items() if name != "keep"}
    return GroundTruth(
        folder / "truth", len(problem.train), len(problem.query), {**problem.about, **recipe}
    )


def again(problem: Problem, rows: list[int], seed: int) -> list[float]:
    """The queries' losses under a model that was trained on these rows alone."""
    model = train(problem, rows, seed).model
    with torch.no_grad():
        losses: list[float] = problem.losses(model).tolist()
    return losses


def half_losses(
    problem: Problem, folder: Path, parts: int, seeds: list[int], progress: Progress | None = None
) -> tuple[Tensor, Tensor]:
    """Random halves, bool [parts, n], and the queries' losses [parts, seeds, m]."""
    halves = random_parts(len(problem.train), parts)
    found = truth_of(problem, folder).losses(
        halves, seeds, lambda rows, seed: again(problem, rows, seed), progress=progress
    )
    return halves, found
