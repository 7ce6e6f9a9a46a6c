"""What a model's trained parameters were at some points of a fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from torch import Tensor, nn


class Checkpoints(transformers.TrainerCallback):  # type: ignore[misc]  # has no types
    """Keeps the trained parameters as they were after some epochs; 0 is before the first.

    In memory, and looked at once training is over: that leaves training as it would have been.
    """

    def __init__(self, epochs: Sequence[int]) -> None:
        self.epochs = epochs
        self.states: dict[int, dict[str, Tensor]] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        self._keep(0, given["model"])

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        self._keep(round(state.epoch), given["model"])

    def load(self, epoch: int, model: nn.Module) -> None:
        """Put the parameters of that time into the model that was trained."""
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, value in self.states[epoch].items():
                parameters[name].copy_(value)

    def _keep(self, epoch: int, model: nn.Module) -> None:
        if epoch in self.epochs:
            self.states[epoch] = {
                name: parameter.detach().cpu().clone()
                for name, parameter in model.named_parameters()
                if parameter.requires_grad
            }
