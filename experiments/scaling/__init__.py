"""How DataInf's error and cost grow with n and d."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.cells import Key
from experiments.scaling.settings import SETTINGS, ScalingSettings, cells

__all__ = ["ALONE", "SETTINGS", "cells", "run"]

ALONE = True


def run(key: Key, settings: ScalingSettings, folder: Path) -> dict[str, Any]:
    from experiments.scaling.cell import run  # what plans and reports has no use for torch

    return run(key, settings, folder)
