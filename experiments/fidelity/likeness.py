"""What attribution has to beat: likeness of states, of words, and what a store says by itself."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from datainf.evaluation import representations, similarity, store_baselines
from experiments.baselines import bm25
from experiments.fidelity.problem import Problem
from experiments.fidelity.stores import Tuned
from experiments.images.baselines import states_of


def likeness(problem: Problem, tuned: Tuned) -> dict[str, Tensor]:
    """name → scores [m, n], of the fine-tuned model."""
    train, query = states(problem, tuned)
    raw, centred = F.normalize(query) @ F.normalize(train).T, similarity(query, train)
    found = {
        "representation similarity, raw": raw,
        "representation similarity, centred": centred,
    }
    if problem.kind == "classification" and problem.groups is not None:
        labels = [torch.tensor(part) for part in problem.groups]
        sign = torch.where(labels[0][:, None] == labels[1], 1.0, -1.0)
        found["representation similarity × label"] = centred * sign
    if problem.texts is not None:
        found["BM25"] = bm25(*problem.texts)
    return found | store_baselines(tuned.points[-1].train, len(problem.query))


def states(problem: Problem, tuned: Tuned) -> tuple[Tensor, Tensor]:
    """Of the training rows and of the queries, [·, width]: the last hidden states, averaged over
    tokens, or the denoiser's last features, averaged over positions."""
    parts = (problem.train, problem.query)
    if problem.kind != "pictures":
        train, query = (representations(tuned.model, rows, problem.task) for rows in parts)
    else:
        pipeline = problem.task.pipeline  # type: ignore[attr-defined]
        pipeline.unet = tuned.model
        represent = states_of(pipeline.unet.conv_norm_out)
        train, query = (represent(pipeline, rows) for rows in parts)
    return train, query


def folder_of(name: str, out: Path) -> Path:
    """Where a fine-tuning's files are."""
    return out / name.replace(",", "").replace(" = ", "=").replace(" ", "-")
