"""The baseline that needs no gradient: training examples whose representations are like a query's.

h(x) is the model's last hidden state of x, taken at its last token or averaged over its tokens;
similarity(q, k) is the cosine of h(q) and h(k), after the training examples' mean is taken away
from both, for representations of a language model share a large common direction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datainf.errors import ModelError, OptionError
from datainf.gradients.evaluating import evaluating
from datainf.tasks import Task
from datainf.tasks.inputs import MODEL_INPUTS

Pool = Literal["mean", "last"]


def representations(
    model: nn.Module,
    examples: Sequence[Any],
    task: Task,
    *,
    pool: Pool = "mean",
    batch_size: int = 32,
) -> Tensor:
    """The last hidden state of every example, float32 [n, width]; padding never counts.

    Args:
        model: A Hugging Face text model, with its adapter or without. Left as it was found.
        examples: What `task` understands.
        task: Its inputs are the model's; its labels are not used.
        pool: `mean` over the example's tokens, or the `last` of them.
        batch_size: Examples taken at one time.

    Raises:
        OptionError: an unknown pool.
        ModelError: a model that gives no hidden states.
    """
    if pool not in get_args(Pool):
        raise OptionError(f"unknown pool {pool!r}", remedy=" or ".join(get_args(Pool)))
    fitted = task.for_model(model)
    with evaluating(model), torch.no_grad():
        parts = [
            _pooled(model, fitted.collate(list(examples[start : start + batch_size])), pool)
            for start in range(0, len(examples), batch_size)
        ]
    return torch.cat(parts) if parts else torch.empty((0, 0))


def similarity(query: Tensor, train: Tensor) -> Tensor:
    """Cosines [m, n] of representations [m, width] and [n, width], centred on the training mean.

    Positive = alike. A representation that equals the mean has cosine 0 with all.
    """
    center = train.mean(dim=0)
    return F.normalize(query - center, dim=1) @ F.normalize(train - center, dim=1).T


def _pooled(model: nn.Module, batch: Mapping[str, Tensor], pool: Pool) -> Tensor:
    device = next(model.parameters()).device
    inputs = {key: batch[key].to(device) for key in MODEL_INPUTS if key in batch}
    states = getattr(model(**inputs, output_hidden_states=True), "hidden_states", None)
    if not states:
        raise ModelError(
            f"{type(model).__name__} gives no hidden states",
            remedy="representations are for the text models of transformers",
        )
    mask = inputs["attention_mask"]
    h: Tensor = states[-1].float()
    if h.shape[1] != mask.shape[1]:  # a soft prompt in front
        h = h[:, -mask.shape[1] :]
    if pool == "mean":
        weight = mask[:, :, None].float()
        return ((h * weight).sum(dim=1) / weight.sum(dim=1)).cpu()
    positions = torch.arange(mask.shape[1], device=device)
    last = (mask * positions).argmax(dim=1)
    return h[torch.arange(len(h), device=device), last].cpu()
