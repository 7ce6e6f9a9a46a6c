"""Gradients, and what they tell, while a model is fine-tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.cells import Key
from experiments.training.settings import SETTINGS, TrainingSettings, cells

__all__ = ["SETTINGS", "cells", "run"]


def run(key: Key, settings: TrainingSettings, folder: Path) -> dict[str, Any]:
    from experiments.training.cell import run  # what plans and reports has no use for torch

    return run(key, settings, folder)
