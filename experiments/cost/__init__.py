"""What scoring costs, beside the released code's loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.cells import Key
from experiments.cost.settings import SETTINGS, RuntimeSettings, cells

__all__ = ["ALONE", "SETTINGS", "cells", "run"]

ALONE = True


def run(key: Key, settings: RuntimeSettings, folder: Path) -> dict[str, Any]:
    from experiments.cost.cell import run  # what plans and reports has no use for torch

    return run(key, settings, folder)
