"""The tasks of the study, by name."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from datainf.tasks import CausalLM, SequenceClassification, TextToImage
from experiments.fidelity.problem import Problem, losses_of
from experiments.fidelity.settings import SETTINGS, Kind, Recipe, Settings
from experiments.fidelity.styles import STYLES
from experiments.fidelity.upper_layers import UpperLayers
from experiments.glue.data import split as glue_split
from experiments.glue.settings import DESK as GLUE
from experiments.glue.settings import MINILM
from experiments.images.base import load_base
from experiments.images.data import task_rows
from experiments.images.finetune import TARGETS
from experiments.images.settings import DESK as IMAGES
from experiments.images.sizes import Sizes
from experiments.images.training import TARGETS as PREDICTED
from experiments.images.training import encode
from experiments.shipped import location
from experiments.text.data import split as text_split
from experiments.text.settings import DESK as TEXT

Row = dict[str, Any]
UPPER = 4
"""The first of the classifier's layers that is trained, of six."""


def classification(name: str, data: Path, settings: Settings) -> Problem:
    """all-MiniLM-L6-v2, its last two layers and a new head."""
    recipe, queries = settings.recipe, settings.queries
    sizes = replace(GLUE, data=data, train_rows=settings.rows, validation_rows=queries)
    drawn = glue_split(settings.data, sizes, settings.noise, seed=0)
    where = location(MINILM)
    base = partial(
        AutoModelForSequenceClassification.from_pretrained, where, num_labels=2,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    config = _lora(
        recipe, task_type="SEQ_CLS", target_modules=["query", "value"],
        layers_to_transform=[UPPER, UPPER + 1], modules_to_save=["classifier"],
    )  # fmt: skip

    def fresh(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model: nn.Module = peft.get_peft_model(base(), config)
        return model

    task = SequenceClassification(AutoTokenizer.from_pretrained(where), 64).for_model(fresh(0))
    upper = [UpperLayers(fresh(0), task, UPPER, part) for part in (drawn.train, drawn.validation)]

    def step_loss(model: nn.Module, chosen: list[int], _generator: torch.Generator) -> Tensor:
        return upper[0].losses(model, chosen).mean()

    def losses(model: nn.Module) -> Tensor:
        return upper[1].losses(model, range(queries))

    texts = [[" ".join((row["text"], row.get("text_pair", ""))) for row in part]
             for part in (drawn.validation, drawn.train)]  # fmt: skip
    labels = [[row["label"] for row in part] for part in (drawn.validation, drawn.train)]
    return Problem(
        name, "classification", recipe, task, drawn.train, drawn.validation, fresh, step_loss,
        losses, (labels[0], labels[1]), (texts[0], texts[1]),
        drawn.flipped if settings.noise else None,
        {"dataset": settings.data, "rows": settings.rows, "queries": queries,
         "noise": settings.noise},
    )  # fmt: skip


def writing(name: str, data: Path, settings: Settings) -> Problem:
    """Instructions whose answers are in one of three writing styles that the base never saw."""
    with (data / "alpaca/alpaca_5000.json").open(encoding="utf-8") as file:
        pool = [
            row for row in json.load(file)
            if len(row["instruction"]) + len(row["input"]) <= 90 and 20 <= len(row["output"]) <= 110
        ]  # fmt: skip
    rows, queries = settings.rows, settings.queries
    drawn = random.Random(0).sample(pool, rows + queries)
    styles = [list(STYLES)[i % len(STYLES)] for i in range(len(drawn))]
    made = [_in_style(row, style) for row, style in zip(drawn, styles, strict=True)]
    return _language(
        name, "writing", settings.recipe, "bases:questions", made[:rows], made[rows:],
        {"rows": rows, "queries": queries},
    )  # fmt: skip


def _in_style(row: Row, style: str) -> Row:
    asked = "\n".join(part for part in (row["instruction"], row["input"]) if part)
    return {"prompt": f"{asked}\n", "completion": STYLES[style](row["output"]), "class": style}


def classes(name: str, _data: Path, settings: Settings) -> Problem:
    """Ten classes of made-up tasks on sentences or sums, as in the paper's section 4.3."""
    kind, each, ask = settings.data, settings.rows, settings.queries
    sizes = replace(TEXT, train_per_class=each, test_per_class=ask)
    train, query = text_split(kind, sizes, seed=0)
    random.Random(0).shuffle(query)  # so that every class is among the held-out ones
    return _language(
        name,
        "classes",
        settings.recipe,
        TEXT.base,
        train,
        query,
        {"kind": kind, "each": each, "ask": ask},
    )


def _language(
    name: str, kind: Kind, recipe: Recipe, base: str, train: list[Row], query: list[Row], about: Row
) -> Problem:
    where = location(base)
    loaded = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(where)
    config = _lora(recipe, task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"])

    def fresh(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model: nn.Module = peft.get_peft_model(copy.deepcopy(loaded), config)
        return model

    task = CausalLM(tokenizer, None).for_model(loaded)
    encoded = [task.encode(row) for row in train]

    def step_loss(model: nn.Module, chosen: list[int], _generator: torch.Generator) -> Tensor:
        return task.losses(model, task.collate([encoded[i] for i in chosen])).mean()

    texts = [[row["prompt"] + row["completion"] for row in part] for part in (query, train)]
    groups = [[row["class"] for row in part] for part in (query, train)]
    return Problem(
        name, kind, recipe, task, train, query, fresh, step_loss, losses_of(task, query),
        (groups[0], groups[1]), (texts[0], texts[1]), None, {"base": base, **about},
    )  # fmt: skip


def pictures(name: str, data: Path, settings: Settings) -> Problem:
    """Emoji in three styles of drawing, and a small text-conditional UNet."""
    recipe, each, ask = settings.recipe, settings.rows, settings.queries
    sizes = Sizes(style_train=each, style_queries=ask)
    rows = task_rows(settings.data, "emoji", data, sizes, seed=0)
    random.Random(0).shuffle(rows.query)
    pipeline = load_base(replace(IMAGES, data=data), Path())
    base, scheduler = pipeline.unet, pipeline.scheduler
    examples = encode(pipeline, rows.train)
    target_of = PREDICTED[scheduler.config.prediction_type]
    config = _lora(recipe, target_modules=TARGETS, init_lora_weights="gaussian")

    def fresh(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        unet: nn.Module = copy.deepcopy(base)
        unet.add_adapter(config)  # type: ignore[operator]
        pipeline.unet = unet
        return unet

    def step_loss(unet: nn.Module, chosen: list[int], generator: torch.Generator) -> Tensor:
        x = examples.latents[chosen]
        noise = torch.randn(x.shape, generator=generator)
        t = torch.randint(scheduler.config.num_train_timesteps, (len(x),), generator=generator)
        text = examples.text[examples.caption[chosen]].float()
        predicted = unet(scheduler.add_noise(x, noise, t), t, text).sample
        return nn.functional.mse_loss(predicted, target_of(scheduler, x, noise, t))

    fresh(0)
    task = TextToImage(pipeline, timesteps=IMAGES.timesteps)
    texts = [[row["text"] for row in part] for part in (rows.query, rows.train)]
    groups = [[row["class"] for row in part] for part in (rows.query, rows.train)]
    return Problem(
        name, "pictures", recipe, task, rows.train, rows.query, fresh, step_loss,
        losses_of(task, rows.query), (groups[0], groups[1]),
        (texts[0], texts[1]), None, {"each": each, "ask": ask},
    )  # fmt: skip


def _lora(recipe: Recipe, **options: Any) -> peft.LoraConfig:
    return peft.LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=0.0,
        use_dora=recipe.adapter == "dora", **options,
    )  # fmt: skip


MAKERS: dict[str, Callable[[str, Path, Settings], Problem]] = {
    "classification": classification,
    "writing": writing,
    "classes": classes,
    "pictures": pictures,
}


def problem(name: str, data: Path) -> Problem:
    """One of `settings.SETTINGS`, ready to train; `data` is the folder of data sets."""
    settings = SETTINGS[name]
    return MAKERS[settings.kind](name, data, settings)
