"""Per-example gradients beside the plain pass, which is what a step of training computes, over the
same batches."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

import datainf
from benchmarks.gpu.watched import in_turn
from benchmarks.works import Work
from datainf.gradients.collector import BATCH_TOKENS, max_rows
from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select

PLAIN, GRADIENTS, ALONE = "plain", "gradients", "alone"
WAYS = {
    PLAIN: "plain pass",
    GRADIENTS: "per-example gradients",
    ALONE: "plain passes of one example each",
}
"""In words."""


def probed(work: Work, folder: Path) -> int:
    """Tokens a batch that a collection settles on."""
    store = datainf.collect(
        work.model, work.rows[:3], work.task, out=folder / "probe", project=64, sample=False
    )
    shutil.rmtree(folder / "probe")
    return int(store.index.notes[BATCH_TOKENS])


def passes(work: Work, budget: int, device: torch.device, alone: int = 0) -> dict[str, Any]:
    """Seconds and peaks of each of `WAYS`, the last of so many examples and counted for all; how
    many examples a batch has; whether each had to be taken alone for its gradients."""
    chosen = select(work.model)
    row_bytes = 4 * sum(p.numel() for p in chosen.values())
    batches = work.batches(budget, max_rows(row_bytes, device))
    singles = [[example] for batch in batches for example in batch][:alone]
    engine = PerExample(work.model, chosen, work.task.for_model(work.model), device)

    def gradients() -> None:
        for batch in batches:
            engine(batch)

    ways = {PLAIN: lambda: work.plain_pass(batches), GRADIENTS: gradients}
    if singles:
        ways[ALONE] = lambda: work.plain_pass(singles)
    with evaluating(work.model):
        engine.check(batches[0][:2])
        found = in_turn(ways, device)
    if one := found.get(ALONE):
        one["seconds"] *= len(work.rows) / len(singles)
    return {"batch": len(batches[0]), "fallback": engine.alone, **found}
