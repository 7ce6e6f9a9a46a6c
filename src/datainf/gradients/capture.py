"""Per-example gradients of a batch, in one forward and one backward pass.

Each module that holds chosen parameters gets a forward hook that passes its output through a
tap (`datainf.gradients.tap`): the identity, whose backward hands the output's gradient, with the
module's input, to the module's rule, or to the module's replay where there is no rule. All taps
hang on one scalar, the anchor, with respect to which the summed loss is differentiated. So the
backward pass runs just as far as the lowest tap, no weight's gradient is formed by autograd, no
parameter's `requires_grad` is touched, and memory is released as the pass goes down. The model's
own code, its attention and its padding are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from datainf.errors import CoverageError
from datainf.gradients.parameters import sites
from datainf.gradients.precision import loss_scales
from datainf.gradients.tap import Calls, Sink, tap
from datainf.tasks import Task


class LossShapeError(CoverageError):
    """A task gave something else than one loss an example."""


@dataclass(frozen=True)
class BatchGradients:
    """losses [B]; gradients: block name → [B, d_l], float32 or better; the blocks that the
    losses do not depend on are zero and named in `unused`."""

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
        self.looped: set[str] = set()
        """Those whose modules are run again for one example after another."""
        self.copying = False
        """Whether taps copy, for a model that changes its modules' outputs in place."""
        self._calls: Calls = {}

    def __call__(self, task: Task, batch: Any, size: int) -> BatchGradients:
        """Gradients of a batch of `size` examples, already on the model's device.

        Raises `CoverageError`, for a module whose rows are not the examples a `SiteError`.
        """
        for scale in loss_scales(self.model):
            sink = Sink(
                size, task.parts, task.concatenate, scale, self.copying, self._calls, self.looped
            )
            with self._hooks(sink), torch.enable_grad():
                losses = batch_losses(task, self.model, batch, size)
                if losses.requires_grad:
                    torch.autograd.grad(losses.sum() * scale, sink.anchor, allow_unused=True)
            if scale == 1 or all(torch.isfinite(g).all() for g in sink.gradients.values()):
                break
        self.reached |= sink.reached
        losses = losses.detach()
        return self._gather(losses.mean(dim=1) if losses.dim() == 2 else losses, sink)

    def _gather(self, losses: Tensor, sink: Sink) -> BatchGradients:
        gradients, unused = {}, []
        for name, parameter in self.chosen.items():
            if (gradient := sink.gradients.get(name)) is None:
                unused.append(name)
                copies = sink.parts if sink.concatenate else 1
                gradient = torch.zeros((sink.size, copies * parameter.numel()))
            else:
                gradient = _hooked(parameter, gradient)
            gradients[name] = gradient.to(losses.device)
        return BatchGradients(losses, gradients, unused)

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


def _hooked(parameter: nn.Parameter, gradient: Tensor) -> Tensor:
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
