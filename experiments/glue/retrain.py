"""Train again without the worst rows, by who chose them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from experiments.baselines import chance
from experiments.glue.data import Split
from experiments.glue.finetune import evaluate, finetune, lora
from experiments.glue.settings import GlueSettings

OTHER_SEED = 100
"""Added to a run's seed, so that no arm trains as the run did that the choice came from."""


def retrain(
    suspicion: Mapping[str, Tensor], rows: Split, settings: GlueSettings, rank: int, seed: int,
    folder: Path,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Quality on the test rows of each arm, how many rows it kept, and how many of them flipped.

    `suspicion` has what is high for rows to drop, [n], by arm. `random` drops as many at random;
    `oracle` drops the flipped ones first and then others at random; `all` trains on everything.
    """
    n = len(rows.train)
    noise = chance(1, n, seed + 1)[0]
    orders = {**suspicion, "random": noise, "oracle": torch.tensor(rows.flipped) + noise}
    kept = {name: order.argsort()[: round(settings.keep * n)] for name, order in orders.items()}
    kept["all"] = torch.arange(n)
    out = {}
    for name, positions in kept.items():
        chosen = [rows.train[i] for i in positions.sort().values.tolist()]
        adapter = lora(settings, rank)
        model, task = finetune(chosen, settings, adapter, seed + OTHER_SEED, folder)
        wrong = sum(rows.flipped[i] for i in positions.tolist())
        out[name] = evaluate(model, task, rows.test) | {"flipped": wrong, "rows": len(chosen)}
    return out
