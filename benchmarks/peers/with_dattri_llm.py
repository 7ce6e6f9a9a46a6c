"""dattri-LLM: inner products of gradients (its attributor for TracIn and Grad-Dot), as they pass.

Modules are hooked in the way that leaves out their weights' own gradients, and each layer of each
batch takes the cheaper of its two forms, both as its documentation advises for attribution alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import truth
from dattri_llm import AttributionArguments, AttributionTask, HookManagerConfig, TracInAttributor
from torch import Tensor
from torch.utils.data import Dataset
from work import BATCH, Batch, Row, losses, make_model, padded

PACKAGE = "dattri-llm"
TRUTHS = {"dot": truth.dot}
NOTES: list[str] = []


class Sequences(Dataset[Batch]):
    """Pads a batch's rows to its longest: the attributor has no place for a collator of ours."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> list[Batch]:
        batch = padded([self.rows[i] for i in indices])
        return [{name: part[k] for name, part in batch.items()} for k in range(len(indices))]


def stages(folder: Path) -> dict[str, Callable[[list[Row], list[Row]], Tensor]]:
    task = AttributionTask(lambda model, batch: losses(model, batch).sum(), make_model())
    arguments = AttributionArguments(
        output_dir=str(folder), per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH, max_grad_norm=None, use_cpu=True,
    )  # fmt: skip
    hooks = HookManagerConfig(invasive_linear_io=["lora_"], capture_style="auto")

    def dot(rows: list[Row], queries: list[Row]) -> Tensor:
        attributor = TracInAttributor(arguments, task=task)
        score = attributor.attribute(Sequences(rows), Sequences(queries), hook_config=hooks)
        return score.agnostic_matrix()[1].T

    return {"dot": dot}
