"""One retraining test: fine-tune on noisy labels, choose the worst rows, train again without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.cells import Key
from experiments.glue.cell import gradients
from experiments.glue.data import split
from experiments.glue.finetune import lora
from experiments.glue.likeness import likeness
from experiments.glue.overlap import apart
from experiments.glue.retrain import retrain
from experiments.methods import VARIANTS
from experiments.retraining.settings import RetrainingSettings


def run(key: Key, settings: RetrainingSettings, folder: Path) -> dict[str, Any]:
    sizes = replace(settings.glue, data=settings.data)
    rows = split(key["task"], sizes, sizes.noise, key["seed"])
    if settings.apart:
        rows = replace(rows, test=apart(rows.test, rows.train))
    done = gradients(rows, sizes, lora(sizes, key["rank"]), key["seed"], folder)
    variants = {variant.name: variant for variant in VARIANTS}
    found = likeness(done.model, done.task, rows, key["seed"]) | {"own loss": -done.train.losses}
    suspicion = {
        arm: -(found[arm] if arm in found
               else variants[arm].scores(done.train, done.query).mean(dim=0))
        for arm in settings.arms
    }  # fmt: skip
    return {
        "rows": len(rows.train), "test": len(rows.test), "flipped": sum(rows.flipped),
        "seconds": done.seconds,
        "retraining": retrain(suspicion, rows, sizes, key["rank"], key["seed"], folder),
    }  # fmt: skip
