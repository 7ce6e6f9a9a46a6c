"""The task of data that say of themselves only which class each input is of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from datainf.errors import InputError
from datainf.tasks import Custom
from datainf.tasks.sampling import Draws, sampled_class_losses
from datainf.tasks.token_losses import at_least_float32


def labelled(model: nn.Module, batch: Sequence[Any]) -> Tensor:
    """Cross-entropy of a batch (inputs, class indices), [B], in float32 or the model's float64;
    the model gives outputs [B, C], or something that has them as `logits`."""
    inputs, labels = _pair(batch)
    return F.cross_entropy(at_least_float32(_logits(model, inputs)), labels, reduction="none")


class Classes(Custom):
    """`labelled` as a task, whose answers can be drawn: the model gives each class a probability.

    Raises `InputError`, at the first batch, for examples that are no pairs.
    """

    def __init__(self) -> None:
        super().__init__(labelled)

    @property
    def can_sample(self) -> bool:
        return True

    @property
    def one_target(self) -> bool:
        return True

    def sampled_losses(self, model: nn.Module, batch: Any, draws: Draws) -> Tensor:
        return sampled_class_losses(_logits(model, _pair(batch)[0]), draws)


def _pair(batch: Any) -> Sequence[Any]:
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        raise InputError(
            "an example is no pair of an input and a class index",
            remedy="a task of its own, task=…",
        )
    return batch


def _logits(model: nn.Module, inputs: Any) -> Tensor:
    found = model(inputs)
    logits: Tensor = getattr(found, "logits", found)
    return logits
