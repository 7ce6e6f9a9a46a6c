"""One run on a text task: fine-tune, and ask of every test row which training rows taught it.

Relevant are the training rows of the test row's class. Gradients are taken of two losses: of the
completion, and of the prompt with its padding, as the paper's released code has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from torch import Tensor

import datainf
from datainf.evaluation import class_detection, representations, similarity
from datainf.tasks import CausalLM, Task
from experiments.baselines import bm25, chance
from experiments.cells import Key
from experiments.methods import VARIANTS, Variant, swept, timed
from experiments.norms import norms
from experiments.stages import Seconds, stage
from experiments.text.data import Row, split
from experiments.text.finetune import load_adapter, load_base, train, with_adapter
from experiments.text.generate import quality
from experiments.text.prompt_loss import padded, released_task
from experiments.text.settings import TextSettings

LOSSES = ("completion", "prompt")
HALF_WAY = "completion, half way"
"""The loss of the completion again, at the checkpoint in the middle of the training."""
Stores = tuple[datainf.GradientStore, datainf.GradientStore]
"""Of the training and the test rows."""
EXAMPLES, TOP = 2, 3
"""Test rows that the report shows, and how many training rows of each."""


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned model, its rows, and its adapter half way through the training."""

    train: list[Row]
    test: list[Row]
    model: peft.PeftModel
    task: CausalLM
    middle: Path

    @property
    def classes(self) -> tuple[list[str], list[str]]:
        return [row["class"] for row in self.test], [row["class"] for row in self.train]

    def detection(self, scores: Tensor) -> dict[str, float]:
        return class_detection(scores, *self.classes).summary


def run(key: Key, settings: TextSettings, folder: Path) -> dict[str, Any]:
    clock: Seconds = {}
    found: dict[str, Any] = {"norms": {}}
    tuned = _tune(key, settings, folder, clock, found)
    found |= {"rows": len(tuned.train), "test": len(tuned.test), "detection": {}, "examples": []}
    found |= {"score_seconds": {}, "damping": {}}
    for loss in LOSSES:
        stores = collect(tuned, settings, loss, folder / loss, clock)
        score(tuned, stores, loss, clock, found)
    with stage(clock, "baselines"):
        found["detection"]["baselines"] = {
            name: tuned.detection(values) for name, values in likeness(tuned, key["seed"]).items()
        }
    load_adapter(tuned.model, tuned.middle)
    stores = collect(tuned, settings, "completion", folder / HALF_WAY, clock)
    score(tuned, stores, HALF_WAY, clock, found)
    return found | {"seconds": clock}


def score(tuned: Tuned, stores: Stores, name: str, clock: Seconds, found: dict[str, Any]) -> None:
    """Note under `name` what all variants make of the gradients."""
    found["norms"][name] = norms(stores[0])
    found["detection"][name], found["score_seconds"][name] = {}, {}
    for variant, values, seconds in timed(VARIANTS, *stores):
        found["detection"][name][variant.name] = tuned.detection(values)
        found["score_seconds"][name][variant.name] = seconds
        if name == "completion" and variant == Variant("datainf"):
            found["examples"] = examples(tuned, values)
    with stage(clock, f"damping, {name}"):
        found["damping"][name] = damping(tuned, stores)
    found["blocks"] = len(stores[0].index.blocks)
    found["parameters"] = sum(block.width for block in stores[0].index.blocks)


def _tune(
    key: Key, settings: TextSettings, folder: Path, clock: Seconds, found: dict[str, Any]
) -> Tuned:
    """Fine-tune; notes quality before and after, and norms before, half way and after."""
    transformers.set_seed(key["seed"])
    rows, test = split(key["task"], settings, key["seed"])
    base, task = load_base(settings)
    with stage(clock, "quality before"):
        before = quality(base, task, test)
    model = with_adapter(base, settings)
    followed = rows[:: settings.norm_rows]

    def follow(moment: str) -> None:
        out = folder / f"norms-{moment}"
        store = datainf.collect(model, followed, task, out=out, batch_tokens=settings.batch_tokens)
        found["norms"][moment] = norms(store)

    follow("before")
    with stage(clock, "fine-tuning"):
        middle = train(model, task, rows, settings, key["seed"], folder / "trainer")
    end = {name: value.clone() for name, value in _adapter(model).items()}
    load_adapter(model, middle)
    follow("middle")
    model.load_state_dict(end, strict=False)
    follow("after")
    with stage(clock, "quality after"):
        found["quality"] = {"before": before, "after": quality(model, task, test)}
    return Tuned(rows, test, model, task, middle)


def _adapter(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def collect(tuned: Tuned, settings: TextSettings, loss: str, out: Path, clock: Seconds) -> Stores:
    """Gradients of the training and the test rows, of one of the two losses."""
    stores = []
    for part, rows in (("train", tuned.train), ("test", tuned.test)):
        task: Task = tuned.task
        data: Sequence[Any] = rows
        if loss == "prompt":
            task, data = released_task(), padded(rows, tuned.task.tokenizer, settings.prompt_length)
        tokens = settings.batch_tokens
        with stage(clock, f"gradients, {out.name}, {part}"):
            made = datainf.collect(tuned.model, data, task, out=out / part, batch_tokens=tokens)
        stores.append(made)
    return stores[0], stores[1]


def likeness(tuned: Tuned, seed: int) -> dict[str, Tensor]:
    """What needs no gradient, [m, n] each."""
    out = {}
    for pool in ("last", "mean"):
        h = [
            representations(tuned.model, part, tuned.task, pool=pool)
            for part in (tuned.test, tuned.train)
        ]
        out[f"representation similarity, {pool}"] = similarity(h[0], h[1])
    for name, columns in (("prompt", ("prompt",)), ("text", ("prompt", "completion"))):
        texts = [
            ["".join(row[column] for column in columns) for row in part]
            for part in (tuned.test, tuned.train)
        ]
        out[f"BM25, {name}"] = bm25(texts[0], texts[1])
    out["random"] = chance(len(tuned.test), len(tuned.train), seed)
    return out


def damping(tuned: Tuned, stores: Stores) -> dict[str, dict[str, float]]:
    """method → damping → mean AUC."""
    out: dict[str, dict[str, float]] = {}
    for method, lam, values in swept(*stores):
        out.setdefault(method, {})[lam] = tuned.detection(values)["auc_mean"]
    return out


def examples(tuned: Tuned, scores: Tensor) -> list[dict[str, Any]]:
    """A few test rows, of different classes, with the training rows that helped them most."""
    step = max(1, len(tuned.test) // EXAMPLES)
    shown = []
    for position in [*range(0, len(tuned.test), step)][:EXAMPLES]:
        best = scores[position].topk(TOP)
        shown.append(
            _shown(tuned.test[position])
            | {
                "top": [
                    _shown(tuned.train[i]) | {"score": float(value)}
                    for value, i in zip(best.values, best.indices.tolist(), strict=True)
                ]
            }
        )
    return shown


def _shown(row: Row) -> dict[str, Any]:
    return {key: row[key] for key in ("id", "class", "prompt", "completion")}
