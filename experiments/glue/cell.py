"""One run on GLUE: fine-tune on labels of which some are flipped, and score with every method.

A training example's influence is its score averaged over the validation rows, positive where
training more on it would lower their loss. Two questions are asked of it: how near is a method
to `exact` (the paper's Figure 1), and do flipped examples come last (its Figure 2)?
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import datainf
from datainf.evaluation import (
    agreement,
    detection_auc,
    detection_precision,
    inverse_residuals,
)
from datainf.tasks import SequenceClassification
from datainf.views import Blocks, Normalize
from experiments.cells import Key
from experiments.cost.released import trainable
from experiments.dampings import ABSOLUTE, DAMPINGS
from experiments.glue.data import Split, split
from experiments.glue.finetune import Adapt, evaluate, finetune, lora
from experiments.glue.likeness import likeness
from experiments.glue.retrain import retrain
from experiments.glue.settings import GlueSettings
from experiments.methods import METHODS, SELF_INFLUENCE, VARIANTS, Variant, swept, timed
from experiments.norms import norms
from experiments.stages import stage

RETRAINED = (
    "gradient", "datainf", "exact", "datainf, unit", "cg 3, model blocks, unit, λ trace:0.02",
    "own loss", "representation similarity", "BM25",
)  # fmt: skip
"""Who chooses what the retraining test drops, beside `random` and `oracle`."""
SWEPT = (*DAMPINGS, *ABSOLUTE)
AGREEMENT_GROUPS: tuple[tuple[Normalize, Blocks], ...] = (
    ("none", "tensor"), ("unit", "tensor"), ("none", "model")
)  # fmt: skip
"""Normalisation and blocks within which methods are compared with `exact` of the same."""


@dataclass(frozen=True)
class Run:
    """A fine-tuned model with its rows and gradients."""

    split: Split
    model: nn.Module
    task: SequenceClassification
    train: datainf.GradientStore
    query: datainf.GradientStore
    seconds: dict[str, float]


def run(key: Key, settings: GlueSettings, folder: Path) -> dict[str, Any]:
    noisy = key["labels"] == "noisy"
    rows = split(key["task"], settings, settings.noise if noisy else 0.0, key["seed"])
    done = gradients(rows, settings, lora(settings, key["rank"]), key["seed"], folder)
    found, influence = measured(done, key["seed"])
    if not noisy:
        return found
    suspicion = suspicions(influence, done)
    found["detection"] = detection(suspicion, rows)
    if key["rank"] == settings.retrain_rank:
        found["damping"] = damping(done)
        chosen = {name: suspicion[name] for name in RETRAINED}
        found["retraining"] = retrain(chosen, rows, settings, key["rank"], key["seed"], folder)
    return found


def measured(done: Run, seed: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What is found of a run whether its labels are noisy or not; and the influence [n] of its
    training examples by every variant and baseline."""
    rows, blocks = done.split, done.train.index.blocks
    found: dict[str, Any] = {
        "rows": len(rows.train), "validation": len(rows.validation), "test": len(rows.test),
        "flipped": sum(rows.flipped), "blocks": len(blocks),
        "parameters": sum(block.width for block in blocks),
        "quality": {
            "test": evaluate(done.model, done.task, rows.test),
            "validation": evaluate(done.model, done.task, rows.validation),
        },
        "seconds": done.seconds, "norms": norms(done.train),
    }  # fmt: skip
    influence, found["score_seconds"] = {}, {}
    for variant, values, seconds in timed(VARIANTS, done.train, done.query):
        influence[variant.name] = values.mean(dim=0)
        found["score_seconds"][variant.name] = seconds
    baselines = likeness(done.model, done.task, rows, seed)
    found["agreement"] = agreements(influence, baselines, done)
    return found, influence | baselines


def suspicions(influence: dict[str, Tensor], done: Run) -> dict[str, Tensor]:
    """What should be high for a flipped example [n], by every way there is to tell."""
    suspicion = {name: -values for name, values in influence.items()}
    suspicion["own loss"] = done.train.losses
    return suspicion | {
        f"self-influence, {variant.name}": variant.self_influence(done.train)
        for variant in SELF_INFLUENCE
    }


def detection(suspicion: dict[str, Tensor], rows: Split) -> dict[str, dict[str, float]]:
    return {
        name: {
            "auc": detection_auc(values, rows.flipped),
            "precision": detection_precision(values, rows.flipped),
        }
        for name, values in suspicion.items()
    }


def gradients(rows: Split, settings: GlueSettings, adapter: Adapt, seed: int, folder: Path) -> Run:
    """Fine-tune, and collect the gradients of training and validation rows."""
    seconds: dict[str, float] = {}
    with stage(seconds, "fine-tuning"):
        model, task = finetune(rows.train, settings, adapter, seed, folder)
    stores = []
    chosen = trainable(model) if settings.released_blocks else None
    for part in ("train", "validation"):
        with stage(seconds, f"gradients, {part}"):
            store = datainf.collect(
                model, getattr(rows, part), task, out=folder / part, trainable=chosen
            )
        stores.append(store)
    return Run(rows, model, task, stores[0], stores[1], seconds)


def agreements(
    influence: dict[str, Tensor], baselines: dict[str, Tensor], done: Run
) -> dict[str, dict[str, dict[str, float]]]:
    """By normalisation and blocks, each method beside `exact` of the same: Pearson and Spearman
    correlation over training points, and the residuals of its solves (median over queries)."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for normalize, blocks in AGREEMENT_GROUPS:
        variants = [Variant(m, steps, normalize, blocks) for m, steps in METHODS]
        exact = influence[Variant("exact", None, normalize, blocks).name]
        group = out[f"{normalize}, {blocks}"] = {}
        for variant in variants:
            values = influence.get(variant.name)
            if values is None:
                values = variant.scores(done.train, done.query).mean(dim=0)
            residual = inverse_residuals(
                done.train, done.query, variant.method, steps=variant.steps, normalize=normalize,
                blocks=blocks,
            )  # fmt: skip
            group[variant.name.split(",")[0]] = agreement(values, exact) | {
                "residual": float(residual.relative.median()),
                "scaled_residual": float(residual.scaled.median()),
            }
        group |= {name: agreement(values, exact) for name, values in baselines.items()}
        group["own loss"] = agreement(-done.train.losses, exact)
    return out


def damping(done: Run) -> dict[str, dict[str, dict[str, float]]]:
    """method → damping → AUC, and rank correlation with `exact` at the same damping and with the
    method's own scores at the damping before (a tenth)."""
    scores = {
        (method, lam): values.mean(dim=0)
        for method, lam, values in swept(done.train, done.query, SWEPT)
    }
    out: dict[str, dict[str, dict[str, float]]] = {}
    before: tuple[str, Tensor] | None = None
    for (method, lam), values in scores.items():
        entry = {
            "auc": detection_auc(-values, done.split.flipped),
            "exact": agreement(values, scores["exact", lam])["spearman"],
        }
        if before is not None and before[0] == _kind(method, lam):
            entry["before"] = agreement(values, before[1])["spearman"]
        before = (_kind(method, lam), values)
        out.setdefault(method, {})[lam] = entry
    return out


def _kind(method: str, lam: str) -> str:
    return f"{method} {lam.rpartition(':')[0]}"
