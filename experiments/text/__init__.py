"""Influential data, text: sentence transformations, maths without and with reasoning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.cells import Key
from experiments.text.settings import SETTINGS, TextSettings, cells

__all__ = ["SETTINGS", "cells", "run"]


def run(key: Key, settings: TextSettings, folder: Path) -> dict[str, Any]:
    from experiments.text.cell import run  # what plans and reports has no use for torch

    return run(key, settings, folder)
