"""One cell of the image experiments: fine-tune, collect, score, judge.

Gradients are collected once, six timesteps side by side (as the paper's released code has them),
and averaged afterwards (as the paper's text has them), plainly and with weights that make their
norms equal at every timestep.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import datainf
from datainf import GradientStore
from datainf.tasks import TextToImage
from experiments.cells import Key
from experiments.images.base import load_base
from experiments.images.baselines import baselines
from experiments.images.data import task_rows
from experiments.images.finetune import finetune, mean_loss
from experiments.images.gallery import make_gallery
from experiments.images.scoring import judge_all, judge_dampings, judged
from experiments.images.settings import ImageSettings
from experiments.images.tasks import Rows
from experiments.images.timesteps import averaged, timestep_norms
from experiments.norms import norms
from experiments.stages import stage
from experiments.workers import KEEP

PLAIN, EQUAL, BESIDE = "mean", "mean, equal norms", "concatenate"
"""What becomes of an example's gradients at the timesteps."""
SHEET = Path(KEEP) / "gallery.png"
"""Drawn for the first seed alone, and kept beside the ledger."""

Stores = tuple[GradientStore, GradientStore]


def run(key: Key, settings: ImageSettings, folder: Path) -> dict[str, Any]:
    """The figures of one cell; `folder` is left with the stores and the contact sheet."""
    task, seed = key["task"], int(key["seed"])
    seconds: dict[str, float] = {}
    with stage(seconds, "base"):
        pipeline = load_base(settings, folder)
        rows = task_rows(task, settings.source, settings.data, settings.sizes, seed)
    with stage(seconds, "losses"):
        loss = {
            "train, before": mean_loss(pipeline, rows.train, settings.timesteps),
            "query, before": mean_loss(pipeline, rows.query, settings.timesteps),
        }
    with stage(seconds, "fine-tuning"):
        finetune(pipeline, rows.train, settings.tuning(task), seed)
    with stage(seconds, "gradients"):
        beside = collected(pipeline, rows, settings, folder)
    with stage(seconds, "loss under another name"):
        strange = with_wrong_names(rows).query
        loss |= {
            "train, after": float(beside[0].losses.mean()),
            "query, after": float(beside[1].losses.mean()),
            "query, after, another name": mean_loss(pipeline, strange, settings.timesteps),
        }
    lengths = timestep_norms(beside[0], len(settings.timesteps)).square().mean(0).sqrt().tolist()
    with stage(seconds, "averages over timesteps"):
        stores = {
            PLAIN: averages(beside, [1.0] * len(lengths), folder / "mean"),
            EQUAL: averages(beside, [1 / length for length in lengths], folder / "equal"),
            BESIDE: beside,
        }
    with stage(seconds, "scores"):
        detection = {name: judge_all(*pair, rows) for name, pair in stores.items()}
    with stage(seconds, "baselines"):
        likeness = baselines(pipeline, rows, seed)
        detection["baselines"] = {name: judged(values, rows) for name, values in likeness.items()}
    with stage(seconds, "damping"):
        damping = {PLAIN: judge_dampings(*stores[PLAIN], rows, settings.dampings)}
    if seed == 0:
        with stage(seconds, "gallery"):
            make_gallery(pipeline, rows, stores[PLAIN], settings, folder / SHEET)
    return {
        "rows": len(rows.train),
        "queries": len(rows.query),
        "blocks": len(beside[0].index.blocks),
        "parameters": sum(block.width for block in stores[PLAIN][0].index.blocks),
        "loss": loss,
        "detection": detection,
        "damping": damping,
        "timestep_norms": dict(zip(map(str, settings.timesteps), lengths, strict=True)),
        "norms": norms(stores[PLAIN][0]),
        "seconds": seconds,
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


def collected(pipeline: Any, rows: Rows, settings: ImageSettings, folder: Path) -> Stores:
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
