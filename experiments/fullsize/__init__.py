"""The runs on GLUE with the paper's number of rows, and without training again.

The number of rows beside the number of parameters decides how much of the curvature a sample
sees: with 300 rows a block of 1,536 parameters has a rank of 300 at most, with 4,500 a full one.
The learning rate, between the paper's and that of the desk's short runs, was chosen once and not
tuned.
"""

from __future__ import annotations

from dataclasses import replace

from experiments.glue import SETTINGS as GLUE
from experiments.glue import cells

__all__ = ["SETTINGS", "cells"]

SETTINGS = {
    "desk": replace(
        GLUE["desk"], train_rows=4500, validation_rows=500, test_rows=500, learning_rate=1e-3,
        epochs=10, batch=32, released_blocks=True, retrain_rank=0,
        tasks=("SST-2", "MRPC"), noisy_seeds={1: 2, 4: 2}, clean_seeds={},
    ),
    "quick": replace(
        GLUE["quick"], train_rows=200, retrain_rank=0, noisy_seeds={1: 1}, clean_seeds={},
    ),
    "paper": replace(GLUE["paper"], noisy_seeds={}, clean_seeds={}),
}  # fmt: skip
"""At the paper's scale there are no cells: the study `glue` has this many rows there."""
