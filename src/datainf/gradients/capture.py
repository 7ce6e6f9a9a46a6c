"""Per-example gradients of a batch, in one forward and one backward pass.

Each module that holds chosen parameters gets a forward hook that passes its output through a
tap (`datainf.gradients.tap`): the identity, whose backward hands the output's gradient, with the
module's input, to the module's rule, or to the module's replay where there is no rule. All taps
hang on one scalar, the anchor, with respect to which the summed loss is differentiated. So the
backward pass runs just as far as the lowest tap, no weight's gradient is formed by autograd, and
memory is released as the pass goes down. The model's own code, its attention and its padding are
left as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from datainf.errors import CoverageError
from datainf.gradients.parameters import sites
from datainf.gradients.precision import all_finite, loss_scales
from datainf.gradients.reduction import Reductions
from datainf.gradients.tap import TAKE_ALONE, Calls, Sink, tap
from datainf.tasks import Task


class LossShapeError(CoverageError):
    """A task gave something else than one loss an example."""


class MissedError(CoverageError):
    """The losses depend on parameters in a way that no tap sees."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
        super().__init__(
            f"{shown}: used outside the forward of the modules that hold it", remedy=TAKE_ALONE
        )


@dataclass(frozen=True)
class BatchGradients:
    """losses [B]; gradients: block name → [B, d_l], or as reduced, float32 or better; the blocks
    that the losses do not depend on are zero and named in `unused`."""

    losses: Tensor
    gradients: dict[str, Tensor]
    unused: list[str]


class GradientCapture:
    """Per-example gradients of `chosen` parameters of `model`.

    `above` names modules whose parents run again in their place, see `sites`.
    """

    def __init__(
        self,
        model: nn.Module,
        chosen: dict[str, nn.Parameter],
        above: frozenset[str] = frozenset(),
    ) -> None:
        self.model = model
        self.chosen = chosen
        self.above = above
        self.sites = sites(model, chosen, above)
        self.reached: set[str] = set()
        """The sites that have given a gradient so far."""
        self.used: set[str] = set()
        """The parameters that have got a gradient so far."""
        self.looped: set[str] = set()
        """Those whose modules are run again for one example after another."""
        self.copying = False
        """Whether taps copy, for a model that changes its modules' outputs in place."""
        self.reductions: Reductions = {}
        """What is done to gradients as soon as a module's are known, so that no more is held."""
        self._begun = False
        self._scales: tuple[float, ...] | None = None
        self._calls: Calls = {}

    def __call__(self, task: Task, batch: Any, size: int) -> BatchGradients:
        """Gradients of a batch of `size` examples, already on the model's device.

        Raises `CoverageError`: for a module whose rows are not the examples a `SiteError`, for a
        parameter that is used elsewhere than in its module a `MissedError`.
        """
        found = self._pass(task, batch, size, self._unseen() if self._begun else {})
        if not self._begun:
            self._begun = True
            if unseen := self._unseen():  # used behind their modules' backs, or not at all?
                found = self._pass(task, batch, size, unseen)
        return found

    def _unseen(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.chosen.items() if name not in self.used}

    def _pass(
        self, task: Task, batch: Any, size: int, watched: dict[str, nn.Parameter]
    ) -> BatchGradients:
        """One forward and one backward pass. `watched` are parameters that no tap has seen: should
        autograd find them in use, and still no tap, they are missed."""
        for scale in self._loss_scales():
            sink = self._sink(task, size, scale)
            with self._hooks(sink), requiring_grad(watched), torch.enable_grad():
                losses = batch_losses(task, self.model, batch, size)
                found = _differentiate(losses.sum() * scale, [sink.anchor, *watched.values()])[1:]
            if scale == 1 or all_finite(sink.gradients.values()):
                break
        in_use = [name for name, g in zip(watched, found, strict=True) if g is not None]
        if missed := [name for name in in_use if name not in sink.gradients]:
            raise MissedError(missed)
        self.reached |= sink.reached
        self.used |= sink.gradients.keys()
        losses = losses.detach()
        return self._gather(losses.mean(dim=1) if losses.dim() == 2 else losses, sink)

    def _sink(self, task: Task, size: int, scale: float) -> Sink:
        return Sink(
            size, task.parts, task.concatenate, scale, self.copying, self._calls, self.looped,
            self._early(),
        )  # fmt: skip

    def _loss_scales(self) -> tuple[float, ...]:
        """Asked of every module, so not at every pass; some know what they compute in only after
        their first."""
        if self._scales is not None:
            return self._scales
        scales = loss_scales(self.model)
        if self._begun:
            self._scales = scales
        return scales

    def _gather(self, losses: Tensor, sink: Sink) -> BatchGradients:
        gradients, unused = {}, []
        for name, parameter in self.chosen.items():
            if (gradient := sink.gradients.get(name)) is None:
                unused.append(name)
                copies = sink.parts if sink.concatenate else 1
                shape = (sink.size, copies * parameter.numel())
                gradient = torch.zeros(shape, device=losses.device)
            elif name not in sink.reductions:
                gradient = hooked(parameter, gradient)
            if name in self.reductions and (name in unused or name not in sink.reductions):
                gradient = self.reductions[name](gradient)
            gradients[name] = gradient.to(losses.device)
        return BatchGradients(losses, gradients, unused)

    def _early(self) -> Reductions:
        """Those that need not wait for a parameter's own hooks."""
        chosen: Mapping[str, Any] = self.chosen
        return {n: r for n, r in self.reductions.items() if not chosen[n]._backward_hooks}

    @contextmanager
    def _hooks(self, sink: Sink) -> Iterator[None]:
        handles = [
            site.module.register_forward_hook(partial(tap, site, sink), with_kwargs=True)
            for site in self.sites
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def batch_losses(task: Task, model: nn.Module, batch: Any, size: int) -> Tensor:
    """[B], or [B, parts] where the gradients of an example's parts are kept apart."""
    losses = task.part_losses(model, batch) if task.concatenate else task.losses(model, batch)
    shape = (size, task.parts) if task.concatenate else (size,)
    if losses.shape != shape:
        raise LossShapeError(
            f"the task gave losses of shape {tuple(losses.shape)} for {size} examples",
            remedy="one loss an example, [batch]: no reduction over the batch",
        )
    return losses


def hooked(parameter: nn.Parameter, gradient: Tensor) -> Tensor:
    """[B, copies·d] after the parameter's own hooks, which mask or project what it learns."""
    hooks: Any = parameter._backward_hooks
    if not hooks:
        return gradient
    rows = gradient.reshape(-1, *parameter.shape)
    for hook in hooks.values():
        changed = [hook(row) for row in rows]
        rows = torch.stack(
            [row if new is None else new for row, new in zip(rows, changed, strict=True)]
        )
    return rows.reshape(gradient.shape)


def _differentiate(loss: Tensor, inputs: list[Tensor]) -> Sequence[Tensor | None]:
    if not loss.requires_grad:
        return [None] * len(inputs)
    return torch.autograd.grad(loss, inputs, allow_unused=True)


@contextmanager
def requiring_grad(parameters: dict[str, nn.Parameter]) -> Iterator[None]:
    """These parameters require gradients, for the time being."""
    frozen = [parameter for parameter in parameters.values() if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
