"""The loops of the code that was released with the DataInf paper, as we wrote them anew.

Gradients one example at a time, kept in memory, and for every query a loop over blocks and
examples. Their damping hangs on the gradients, so that their scores are compared with no other's
here; tests/experiments/test_released.py does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from work import Row, losses, make_model, padded

from datainf.tasks import Custom

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from experiments.cost import released

PACKAGE = "datainf"
TRUTHS: dict[str, Callable[..., Tensor]] = {}
NOTES = ["written anew from what the released code does"]


def stages(_: Path) -> dict[str, Callable[[list[Row], list[Row]], Tensor]]:
    model, task = make_model(), Custom(losses, collate=padded, length=len)

    def datainf(rows: list[Row], queries: list[Row]) -> Tensor:
        train, asked = (released.gradients(model, task, part) for part in (rows, queries))
        return torch.stack([released.datainf_loop(train, v).scores for v in asked])

    return {"datainf": datainf}
