"""Influential training images: which pictures taught a diffusion model a style, or a subject?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.cells import Key
from experiments.images.settings import SETTINGS, ImageSettings, cells

__all__ = ["SETTINGS", "cells", "run"]


def run(key: Key, settings: ImageSettings, folder: Path) -> dict[str, Any]:
    from experiments.images.cell import run  # what plans and reports has no use for torch

    return run(key, settings, folder)
