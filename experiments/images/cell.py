"""One cell of the image experiments: fine-tune, collect, score, judge.

Gradients are collected once, six timesteps side by side (as the paper's released code has them),
and averaged afterwards (as the paper's text has them), plainly and with weights that make their
norms equal at every timestep.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import datainf
from datainf import GradientStore
from datainf.tasks import TextToImage
from experiments.images import norms
from experiments.images.base import load_base
from experiments.images.baselines import baselines
from experiments.images.data import task_rows
from experiments.images.finetune import finetune, mean_loss
from experiments.images.gallery import make_gallery
from experiments.images.scoring import judged, score_all, sweep_damping
from experiments.images.settings import Settings
from experiments.images.tasks import Rows
from experiments.images.timesteps import averaged

PLAIN, EQUAL, BESIDE = "mean", "mean, equal norms", "concatenate"
"""What becomes of an example's gradients at the timesteps."""
SHEET = "gallery.png"

Stores = tuple[GradientStore, GradientStore]


def cells(settings: Settings) -> list[dict[str, Any]]:
    """The keys of all cells."""
    return [
        {"task": task, "seed": seed} for task in settings.tasks for seed in range(settings.seeds)
    ]


def run(key: dict[str, Any], settings: Settings, folder: Path) -> dict[str, Any]:
    """The figures of one cell; `folder` is left with the stores and `gallery.png`."""
    task, seed = key["task"], int(key["seed"])
    seconds: dict[str, float] = {}
    with timed(seconds, "base"):
        pipeline = load_base(settings, folder)
        rows = task_rows(task, settings.source, settings.data, settings.sizes, seed)
    with timed(seconds, "losses before"):
        before = losses(pipeline, rows, settings)
    with timed(seconds, "fine-tuning"):
        finetune(pipeline, rows.train, settings.tuning(task), seed)
    with timed(seconds, "losses after"):
        after = losses(pipeline, rows, settings)
        swapped = mean_loss(pipeline, with_wrong_names(rows).query, settings.timesteps)
    with timed(seconds, "gradients"):
        beside = collected(pipeline, rows, settings, folder)
    lengths = norms.by_timestep(beside[0], settings.timesteps)
    with timed(seconds, "averages over timesteps"):
        stores = {
            PLAIN: averages(beside, [1.0] * len(lengths), folder / "mean"),
            EQUAL: averages(beside, [1 / norm for norm in lengths.values()], folder / "equal"),
            BESIDE: beside,
        }
    with timed(seconds, "scores"):
        methods = [
            {"timesteps": name, **line}
            for name, (train, query) in stores.items()
            for line in score_all(train, query, rows)
        ]
    with timed(seconds, "baselines"):
        others = baselines(pipeline, rows, seed)
    with timed(seconds, "damping sweep"):
        dampings = [*settings.alphas, *settings.traces]
        sweep = sweep_damping(*stores[PLAIN], rows, dampings)
    with timed(seconds, "gallery"):
        make_gallery(pipeline, rows, stores[EQUAL], settings, folder / SHEET)
    return {
        "rows": {"train": len(rows.train), "query": len(rows.query)},
        "parameters": sum(block.width for block in stores[PLAIN][0].index.blocks),
        "loss_before": before,
        "loss_after": {**after, "query, another name": swapped},
        "methods": methods,
        "baselines": [{"method": name, **judged(s, rows)} for name, s in others.items()],
        "sweep": sweep,
        "norms_by_timestep": lengths,
        "norms_by_block": norms.by_block(stores[PLAIN][0]),
        "seconds": seconds,
    }


def losses(pipeline: Any, rows: Rows, settings: Settings) -> dict[str, float]:
    return {
        "train": mean_loss(pipeline, rows.train, settings.timesteps),
        "query": mean_loss(pipeline, rows.query, settings.timesteps),
    }


def with_wrong_names(rows: Rows) -> Rows:
    """Every query told the next class's name in its prompt; if that costs no loss, the model does
    not hear what the prompt says. Prompts without a name stay as they are."""
    classes = sorted({row["class"] for row in rows.query})
    following = dict(zip(classes, classes[1:] + classes[:1], strict=True))
    changed = [
        {**row, "text": row["text"].replace(row["class"], following[row["class"]])}
        for row in rows.query
    ]
    return replace(rows, query=changed)


def collected(pipeline: Any, rows: Rows, settings: Settings, folder: Path) -> Stores:
    """Stores of both parts, timesteps side by side."""
    task = TextToImage(pipeline, timesteps=settings.timesteps, aggregate="concatenate")
    train, query = (
        datainf.collect(
            pipeline.unet, part, task, out=folder / "beside" / name,
            batch_tokens=settings.batch_tokens,
        )
        for name, part in (("train", rows.train), ("query", rows.query))
    )  # fmt: skip
    return train, query


def averages(beside: Stores, weights: list[float], folder: Path) -> Stores:
    train, query = (
        averaged(store, weights, folder / name)
        for name, store in zip(("train", "query"), beside, strict=True)
    )
    return train, query


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds[stage] = time.perf_counter() - started
