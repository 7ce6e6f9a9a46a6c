"""Approximation error and mislabelled data, on four tasks of GLUE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.cells import Key
from experiments.glue.settings import SETTINGS, GlueSettings, cells

__all__ = ["SETTINGS", "cells", "run"]


def run(key: Key, settings: GlueSettings, folder: Path) -> dict[str, Any]:
    from experiments.glue.cell import run  # what plans and reports has no use for torch

    return run(key, settings, folder)
