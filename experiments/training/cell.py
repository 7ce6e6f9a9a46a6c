"""How gradients and their influence move while a model is fine-tuned.

The theorem behind DataInf takes bounded gradients for granted, and influence is taken at the end
of training, where the gradients of what was learnt are small. Both are looked at here: at some
points of one fine-tuning on noisy labels, the norms of the training rows' gradients, what they
have to do with the losses, and how well they tell flipped labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

import datainf
from datainf.evaluation import agreement, detection_auc
from experiments.cells import Key
from experiments.glue.data import split
from experiments.glue.finetune import evaluate, finetune, lora
from experiments.glue.likeness import likeness
from experiments.methods import Variant
from experiments.norms import norms
from experiments.training.checkpoints import Checkpoints
from experiments.training.settings import TrainingSettings

JUDGED = ("datainf", "gradient", "exact")


def run(key: Key, settings: TrainingSettings, folder: Path) -> dict[str, Any]:
    sizes = replace(settings.glue, data=settings.data)
    rows = split(key["task"], sizes, sizes.noise, key["seed"])
    kept = Checkpoints(settings.epochs)
    adapter = lora(sizes, settings.rank)
    model, task = finetune(rows.train, sizes, adapter, key["seed"], folder, [kept])
    found: dict[str, Any] = {"rows": len(rows.train), "flipped": sum(rows.flipped), "epochs": {}}
    for epoch in settings.epochs:
        kept.load(epoch, model)
        train, query = (
            datainf.collect(model, part, task, out=folder / f"{epoch}-{name}")
            for name, part in (("train", rows.train), ("query", rows.validation))
        )
        found["epochs"][str(epoch)] = {
            "test": evaluate(model, task, rows.test),
            "norms": norms(train),
            **judged(train, query, likeness(model, task, rows, key["seed"]), rows.flipped),
        }
    return found


def judged(
    train: datainf.GradientStore, query: datainf.GradientStore, baselines: Mapping[str, Tensor],
    flipped: Sequence[bool],
) -> dict[str, Any]:  # fmt: skip
    """At one look: the training rows' mean loss, correlation of ‖g_i‖ with the loss, AUC of
    flipped labels, and agreement of methods with `exact` of the same normalisation."""
    norm = train.sq_norms.double().sum(dim=1).sqrt()
    aucs = {
        "own loss": detection_auc(train.losses, flipped),
        "gradient norm": detection_auc(norm, flipped),
    }
    aucs |= {name: detection_auc(-values, flipped) for name, values in baselines.items()}
    agreements: dict[str, dict[str, float]] = {}
    for normalize in ("none", "unit"):
        influence = {
            variant: variant.scores(train, query).mean(dim=0)
            for variant in (Variant(method, normalize=normalize) for method in JUDGED)
        }
        exact = influence[Variant("exact", normalize=normalize)]
        aucs |= {v.name: detection_auc(-values, flipped) for v, values in influence.items()}
        agreements |= {
            v.name: agreement(values, exact)
            for v, values in influence.items()
            if v.method != "exact"
        }
    return {
        "train_loss": float(train.losses.mean()),
        "norm_and_loss": agreement(norm, train.losses),
        "auc": aucs,
        "agreement": agreements,
    }
