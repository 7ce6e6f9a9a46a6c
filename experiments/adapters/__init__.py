"""Mislabelled data and approximation error, adapter by adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.adapters.settings import SETTINGS, AdapterSettings, cells
from experiments.cells import Key

__all__ = ["SETTINGS", "cells", "run"]


def run(key: Key, settings: AdapterSettings, folder: Path) -> dict[str, Any]:
    from experiments.adapters.cell import run  # what plans and reports has no use for torch

    return run(key, settings, folder)
