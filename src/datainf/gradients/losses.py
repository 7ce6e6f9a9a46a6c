"""The losses of examples, with no gradient: the same batches and care as for gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from datainf.gradients.batches import batches
from datainf.gradients.evaluating import evaluating
from datainf.gradients.survey import survey
from datainf.progress import Progress, Silent
from datainf.tasks import Task

LOSS_TOKENS, MAX_ROWS = 4096, 256
"""Of a batch, unless told otherwise: nothing is kept for a backward pass."""


def losses(
    model: nn.Module,
    dataset: Sequence[Any],
    task: Task,
    *,
    batch_tokens: int = LOSS_TOKENS,
    progress: Progress | None = None,
) -> Tensor:
    """The loss of every example under `model` as it is, float32 [n]; dropout is off meanwhile.

    Raises `DataError` for an example that the task cannot use.
    """
    task = task.for_model(model)
    found = survey(dataset, task, progress or Silent())
    device = next(model.parameters()).device
    out = torch.empty(len(dataset), dtype=torch.float32)
    with evaluating(model), torch.no_grad():
        for rows in batches(found.lengths, batch_tokens, MAX_ROWS):
            examples = found.examples(rows, task, dataset)
            batch = send_to_device(task.collate(examples), device)
            out[rows] = task.losses(model, batch).float().cpu()
    return out
