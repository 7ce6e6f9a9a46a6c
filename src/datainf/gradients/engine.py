"""Per-example gradients of any model: batched where its modules allow, else each example alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import nn

from datainf.errors import CoverageError, VerificationError
from datainf.gradients.capture import TAKE_ALONE, BatchGradients, GradientCapture
from datainf.gradients.verify import differing, each_alone, verify_losses
from datainf.tasks import Task


class FallbackWarning(UserWarning):
    """Each example is taken alone, which is exact and slower; says why, once a run."""


class PerExample:
    """Examples → their losses and gradients.

    A parameter that batched capture cannot reach (it is used outside the forward of the module
    that holds it, that module's rows are not the examples, or a batch gives it another gradient
    than autograd) sends the whole run to plain autograd on one example after another, with a
    `FallbackWarning` that names it; or, with `fallback=False`, stops it with a `CoverageError`.
    """

    def __init__(
        self,
        model: nn.Module,
        chosen: dict[str, nn.Parameter],
        task: Task,
        device: torch.device,
        *,
        fallback: bool = True,
    ) -> None:
        self.model, self.chosen, self.task, self.device = model, chosen, task, device
        self.capture = GradientCapture(model, chosen)
        self.fallback = fallback
        self.alone = False
        self._checked: set[str] = set()

    def __call__(self, examples: Sequence[Any]) -> BatchGradients:
        """Losses and gradients of the examples, in their order."""
        if not self.alone:
            try:
                found = self._batched(examples)
                if not self.capture.reached <= self._checked:
                    self.check(examples, found)  # a module that ran for the first time
            except CoverageError as error:
                self._take_alone(error)
            else:
                if not self.alone:
                    return found
        return each_alone(self.model, self.chosen, self.task, examples, self.device)

    def check(self, examples: Sequence[Any], found: BatchGradients | None = None) -> BatchGradients:
        """Compare with one-at-a-time autograd, settle which way to go, and return the truth.

        Raises `VerificationError` where the losses of a batch are not those of its examples
        alone, unless the task is defined by the latter; and where the fallback is needed but not
        allowed, `CoverageError`.
        """
        truth = each_alone(self.model, self.chosen, self.task, examples, self.device)
        try:
            found = found or self._batched(examples)
        except CoverageError as error:
            self._take_alone(error)
            return truth
        try:
            verify_losses(self.model, found, truth)
        except VerificationError as error:
            if not self.task.defined_alone:
                raise
            self._take_alone(CoverageError(error.message, remedy=TAKE_ALONE))
            return truth
        reason = self._missed(found, truth) or differing(self.model, found, truth)
        if reason is not None:
            self._take_alone(CoverageError(reason, remedy=TAKE_ALONE))
        self._checked |= self.capture.reached
        return truth

    def _missed(self, found: BatchGradients, truth: BatchGradients) -> str | None:
        missed = [name for name in found.unused if name not in truth.unused]
        if not missed:
            return None
        shown = ", ".join(missed[:3]) + (f" and {len(missed) - 3} more" if missed[3:] else "")
        return (
            f"{shown}: used outside the forward of the module that holds it, where no per-example "
            "rule reaches it"
        )

    def _batched(self, examples: Sequence[Any]) -> BatchGradients:
        batch = send_to_device(self.task.collate(examples), self.device)
        return self.capture(self.task, batch, len(examples))

    def _take_alone(self, reason: CoverageError) -> None:
        if not self.fallback or "losses of shape" in reason.message:
            raise reason
        self.alone = True
        warnings.warn(
            f"{reason.message}. Each example is taken alone: exact, but slower",
            FallbackWarning,
            stacklevel=2,
        )
