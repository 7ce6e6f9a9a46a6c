"""What a pair loses, from log-probabilities of its two completions.

With Δ = [log π(y_w|x) − log ref(y_w|x)] − [log π(y_l|x) − log ref(y_l|x)]:

    sigmoid   −(1 − ε) log σ(βΔ) − ε log σ(−βΔ)     Rafailov et al. 2023, eq. 7; ε smooths labels
    hinge     max(0, 1 − βΔ)                        Zhao et al. 2023 (SLiC)
    ipo       (Δ̄ − 1/(2β))²                         Azar et al. 2023, eq. 17

Δ̄ is Δ with each bracket divided by its completion's tokens, as in TRL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from datainf.errors import OptionError

LossName = Literal["sigmoid", "hinge", "ipo"]


@dataclass(frozen=True)
class PreferenceLoss:
    """Raises `OptionError` for a loss, a β or an ε outside what they take."""

    name: LossName = "sigmoid"
    beta: float = 0.1
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in get_args(LossName):
            raise OptionError(
                f"unknown preference loss {self.name!r}",
                remedy=f"one of {', '.join(get_args(LossName))}",
            )
        if not self.beta > 0:
            raise OptionError(f"beta must be above 0, got {self.beta}")
        if not 0 <= self.label_smoothing < 0.5:
            raise OptionError(f"label_smoothing must be in [0, 0.5), got {self.label_smoothing}")
        if self.label_smoothing and self.name != "sigmoid":
            raise OptionError(
                f"label_smoothing has no meaning for the loss {self.name!r}", remedy="sigmoid"
            )

    def __call__(self, policy: Tensor, reference: Tensor, tokens: Tensor) -> Tensor:
        """[B] losses of B pairs.

        Args:
            policy, reference: Summed log-probabilities [2B], chosen completions before rejected.
            tokens: The completions' lengths [2B].
        """
        differences = self._differences(policy, reference, tokens)
        if self.name == "ipo":
            return (differences - 1 / (2 * self.beta)).square()
        margin = self.beta * differences
        if self.name == "hinge":
            return torch.relu(1 - margin)
        smoothing = self.label_smoothing
        return -(1 - smoothing) * F.logsigmoid(margin) - smoothing * F.logsigmoid(-margin)

    def margins(self, policy: Tensor, reference: Tensor, tokens: Tensor) -> Tensor:
        """βΔ, or βΔ̄, of the pairs that a call takes, [B]: positive where the policy has come to
        prefer the chosen completion, beside the reference."""
        return self.beta * self._differences(policy, reference, tokens)

    def _differences(self, policy: Tensor, reference: Tensor, tokens: Tensor) -> Tensor:
        """Δ, or Δ̄, [B]."""
        ratios = policy - reference
        if self.name == "ipo":
            ratios = ratios / tokens.clamp(min=1)
        chosen, rejected = ratios.chunk(2)
        return chosen - rejected
