"""The runs on GLUE at the size of a test: a tiny random BERT and a handful of rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from conftest import make_base
from experiments.glue.settings import QUICK, GlueSettings


def tiny_base(folder: Path, tokenizer: Any) -> str:
    """A tiny BERT's folder."""
    make_base("bert", num_labels=2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def tiny_settings(base: str) -> GlueSettings:
    return replace(
        QUICK, base=base, train_rows=30, validation_rows=5, test_rows=10, epochs=2, batch=8,
        max_length=64, learning_rate=1e-2, retrain_rank=8,
    )  # fmt: skip


def without_seconds(found: Any) -> Any:
    """A cell's figures without those of time, which differ from run to run."""
    if not isinstance(found, dict):
        return found
    times = ("seconds", "score_seconds", "passes")
    return {k: without_seconds(v) for k, v in found.items() if k not in times}
