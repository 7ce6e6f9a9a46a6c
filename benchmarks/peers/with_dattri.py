"""dattri: inner products of gradients in two ways, and DataInf.

- `dot`: its attributor of block-projected gradients, which takes linear modules' inputs and output
  gradients from one backward pass, with neither of its two projections and no Hessian;
- `tracin`: its attributor for TracIn and Grad-Dot, with no projection;
- `datainf`: its attributor of that name, with batches as all tools have and with larger ones.

The last two differentiate through a vmap, and go over all queries again for every batch of rows,
DataInf through the approximate inverse too: so the queries are one batch. Sequences are padded at
the right under causal attention and have no mask, which vmap would not pass. `no_grad` is as in
its own examples; without it every graph is kept.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import truth
from dattri.algorithm.block_projected_if import BlockProjectedIFAttributor
from dattri.algorithm.influence_function import IFAttributorDataInf
from dattri.algorithm.tracin import TracInAttributor
from dattri.task import AttributionTask
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader
from work import BATCH, Row, losses, losses_of, make_model, padded

PACKAGE = "dattri"
LARGER = 128
TRUTHS = {
    "dot": truth.dot, "tracin": truth.dot, "datainf": truth.datainf,
    f"datainf by {LARGER}": truth.datainf,
}  # fmt: skip
NOTES = [f"queries in one batch; 'datainf by {LARGER}' has batches of {LARGER} rows"]
NO_PROJECTION = {"proj_type": "identity", "proj_dim": -1, "proj_max_batch_size": BATCH,
                 "device": "cpu"}  # fmt: skip


class WithLoss(nn.Module):
    """The model as dattri calls it: a batch's mean loss over its sequences."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **batch: Tensor) -> Any:
        return SimpleNamespace(loss=losses(self.model, batch).mean())


def stages(folder: Path) -> dict[str, Any]:
    model = make_model()
    hooked, through_vmap = WithLoss(model), task_through_vmap(model)
    return {
        "dot": partial(dot, hooked, folder), "tracin": partial(tracin, through_vmap),
        "datainf": partial(datainf, through_vmap, BATCH),
        f"datainf by {LARGER}": partial(datainf, through_vmap, LARGER),
    }  # fmt: skip


def dot(model: WithLoss, folder: Path, rows: list[Row], queries: list[Row]) -> Tensor:
    task = AttributionTask(lambda of, batch, _: of(**batch).loss, model, model.state_dict())
    attributor = BlockProjectedIFAttributor(
        task,
        [name for name, module in model.named_modules()
         if "lora_" in name and isinstance(module, nn.Linear)],
        hessian="Identity", sparsifier_kwargs=NO_PROJECTION, projector_kwargs=NO_PROJECTION,
        offload="none", cache_dir=str(folder),
    )  # fmt: skip
    train = DataLoader(rows, BATCH, collate_fn=padded)
    attributor.cache(train)
    return attributor.attribute(train, DataLoader(queries, BATCH, collate_fn=padded)).T


@torch.no_grad()
def tracin(task: AttributionTask, rows: list[Row], queries: list[Row]) -> Tensor:
    attributor = TracInAttributor(
        task, torch.ones(1), normalized_grad=False, projector_kwargs=NO_PROJECTION
    )
    return attributor.attribute(loader(rows, BATCH), loader(queries, len(queries))).T


@torch.no_grad()
def datainf(task: AttributionTask, size: int, rows: list[Row], queries: list[Row]) -> Tensor:
    attributor = IFAttributorDataInf(task, regularization=truth.DAMPING)
    train = loader(rows, size)
    attributor.cache(train)
    return attributor.attribute(train, loader(queries, len(queries))).T


def task_through_vmap(model: nn.Module) -> AttributionTask:
    def loss(parameters: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        tokens, labels = (part.view(1, -1) for part in data)
        return losses_of(functional_call(model, parameters, (tokens,)).logits, labels)[0]

    return AttributionTask(loss, model, model.state_dict())


def loader(rows: list[Row], size: int) -> DataLoader[tuple[Tensor, Tensor]]:
    return DataLoader(rows, size, collate_fn=pair)


def pair(rows: list[Row]) -> tuple[Tensor, Tensor]:
    batch = padded(rows)
    return batch["input_ids"], batch["labels"]
