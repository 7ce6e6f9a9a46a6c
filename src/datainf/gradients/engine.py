"""Per-example gradients of any model: batched where its modules allow, else each example alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from accelerate.utils import send_to_device
from accelerate.utils.memory import should_reduce_batch_size
from torch import nn

from datainf.errors import CoverageError, DatainfError, VerificationError
from datainf.gradients.capture import BatchGradients, GradientCapture, LossShapeError, MissedError
from datainf.gradients.reduction import Reductions, reduced
from datainf.gradients.tap import TAKE_ALONE, SiteError
from datainf.gradients.verify import beyond_rounding, each_alone, verify_losses
from datainf.tasks import Task

CLIMB = 3
"""How many modules up a parameter is looked for before each example is taken alone: running a
module again costs what it costs, and soon as much as the model."""


class FallbackWarning(UserWarning):
    """Something is done one example after another, which is exact and slower; says what and why,
    once a run."""


class UnusedWarning(UserWarning):
    """Parameters that no example's loss depends on; says which."""


class PerExample:
    """Examples → their losses and gradients, reduced by block if so told.

    A parameter may be used outside the forward of the module that holds it, or by a module whose
    rows are not the examples. Then the module around it is run again in its place, and if that
    does not give what autograd gives, the one around that. Where none does, the whole run goes to
    plain autograd on one example after another, with a `FallbackWarning` that says why; or, with
    `fallback=False`, stops with a `CoverageError`.
    """

    def __init__(
        self,
        model: nn.Module,
        chosen: dict[str, nn.Parameter],
        task: Task,
        device: torch.device,
        *,
        fallback: bool = True,
        reductions: Reductions | None = None,
    ) -> None:
        self.reductions = reductions or {}
        self.model, self.chosen, self.task, self.device = model, chosen, task, device
        self.capture = GradientCapture(model, chosen)
        self.fallback = fallback
        self.alone = False
        self.used: set[str] = set()
        """The parameters that some example's loss depended on so far."""
        self._checked: set[str] = set()
        self._climbed: dict[str, int] = {}
        self._said: set[str] = set()

    def __call__(self, examples: Sequence[Any]) -> BatchGradients:
        """Losses and gradients of the examples, in their order, reduced as they are stored."""
        while not self.alone:
            found = self._attempt(examples, self.reductions)
            if found is None:
                continue
            if self.capture.reached <= self._checked:
                return self._noted(found)
            self.check(examples)  # a module that ran for the first time
        alone = each_alone(self.model, self.chosen, self.task, examples, self.device)
        return self._noted(replace(alone, gradients=reduced(alone.gradients, self.reductions)))

    def say_unused(self) -> None:
        """Warn of parameters that took no part in any loss: all their gradients are zero."""
        if unused := [name for name in self.chosen if name not in self.used]:
            shown = ", ".join(unused[:3]) + (f" and {len(unused) - 3} more" if unused[3:] else "")
            message = f"{shown}: no example's loss depends on it; its gradients are all zero"
            warnings.warn(message, UnusedWarning, stacklevel=3)

    def _noted(self, found: BatchGradients) -> BatchGradients:
        self.used |= self.chosen.keys() - set(found.unused)
        return found

    def check(self, examples: Sequence[Any], truth: BatchGradients | None = None) -> BatchGradients:
        """Compare with one-at-a-time autograd, settle which way to go, and return the truth, which
        is not reduced; `truth`: what `each_alone` gives for the examples, where that is known.

        Raises `VerificationError` where the losses of a batch are not those of its examples
        alone, unless the task is defined by the latter; and where the fallback is needed but not
        allowed, `CoverageError`.
        """
        if truth is None:
            truth = each_alone(self.model, self.chosen, self.task, examples, self.device)
        while not self.alone:
            found = self._attempt(examples)
            if found is None:
                continue
            try:
                verify_losses(self.model, self.task, found, truth)
            except VerificationError as error:
                if not self.task.defined_alone:
                    raise
                self._take_alone(CoverageError(error.message, remedy=TAKE_ALONE))
                break
            if not self._disagree(examples, found, truth):
                break
        self._checked |= self.capture.reached
        self._say_looped()
        return truth

    def _attempt(
        self, examples: Sequence[Any], reductions: Reductions | None = None
    ) -> BatchGradients | None:
        """The examples in a batch; None where that fails and the way to go has been changed."""
        self.capture.reductions = reductions or {}
        try:
            batch = send_to_device(self.task.collate(examples), self.device)
            return self.capture(self.task, batch, len(examples))
        except LossShapeError:
            raise
        except SiteError as error:
            if not self._climb([error.site.name]):
                self._take_alone(error)
        except MissedError as error:
            if not self._climb_from(error.names):
                self._take_alone(error)
        except CoverageError as error:
            self._take_alone(error)
        except Exception as error:
            if isinstance(error, DatainfError) or should_reduce_batch_size(error):
                raise
            if "modified inplace" in str(error) and not self.capture.copying:
                self.capture.copying = True
                return None
            # The fault is the batch's or the taps', or else comes up again without them.
            what = (str(error).splitlines() or [""])[0]
            reason = f"a batch fails ({type(error).__name__}: {what})"
            if not self.fallback:  # it may be an example's, which is then said
                each_alone(self.model, self.chosen, self.task, examples, self.device)
            self._take_alone(CoverageError(reason, remedy=TAKE_ALONE))
        return None

    def _disagree(
        self, examples: Sequence[Any], found: BatchGradients, truth: BatchGradients
    ) -> bool:
        """Whether a batch gives something else than autograd; if so, the way to go has been
        changed."""
        wrong = beyond_rounding(
            self.model, self.chosen, self.task, examples, self.device, found, truth
        )
        if not wrong:
            return False
        if not self._climb_from(list(wrong)):
            self._take_alone(CoverageError(next(iter(wrong.values())), remedy=TAKE_ALONE))
        return True

    def _climb_from(self, names: list[str]) -> bool:
        """`_climb` from the sites of these parameters."""
        return self._climb(
            [site.name for site in self.capture.sites if set(names) & {*site.blocks.values()}]
        )

    def _climb(self, sites: list[str]) -> bool:
        """Have the modules around these sites run again in their place, if that makes sense."""
        above, blocks_of = set(self.capture.above), {s.name: s.blocks for s in self.capture.sites}
        for name in sites:
            above.add(name)
            parents = GradientCapture(self.model, self.chosen, frozenset(above)).sites
            climbed = {*blocks_of[name].values()}
            around = [
                site.name
                for site in parents
                if climbed & {*site.blocks.values()}
                and name.startswith(f"{site.name}.".lstrip("."))
            ]
            height = self._climbed.get(name, 0) + 1
            if height > CLIMB or "" in around:
                return False
            for parent in around:
                self._climbed[parent] = max(height, self._climbed.get(parent, 0))
        copying, self.capture = (
            self.capture.copying,
            GradientCapture(self.model, self.chosen, frozenset(above)),
        )
        self.capture.copying = copying
        self._checked = set()  # a site that was right for its own parameters has others now
        return True

    def _take_alone(self, reason: CoverageError) -> None:
        if not self.fallback:
            raise reason
        self.alone = True
        self._warn(f"{reason.message}. Each example is taken alone: exact, but slower")

    def _say_looped(self) -> None:
        looped = [site for site in self.capture.sites if site.name in self.capture.looped]
        kinds = sorted({type(site.module).__name__ for site in looped} - self._said)
        if kinds and not self.alone:
            self._said |= set(kinds)
            self._warn(
                f"{', '.join(kinds)} ({looped[0].name}): run again for one example after another, "
                "since vmap cannot follow what they do: exact, but slower"
            )

    def _warn(self, message: str) -> None:
        warnings.warn(message, FallbackWarning, stacklevel=3)
