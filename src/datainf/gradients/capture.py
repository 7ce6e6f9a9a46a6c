"""Per-example gradients of a batch, in one forward and one backward pass.

Each module that holds chosen parameters gets a forward hook that passes its output through a
`Tap`: the identity, whose backward hands the output's gradient, with the module's input, to the
module's rule. All taps hang on one scalar, the anchor, with respect to which the summed loss is
differentiated. So the backward pass runs just as far as the lowest tap, no weight's gradient is
formed by autograd, no parameter's `requires_grad` is touched, and memory is released as the
pass goes down. The model's own code, its attention and its padding are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from datainf.errors import CoverageError
from datainf.gradients.parameters import Site, sites
from datainf.gradients.rules import Rule, rule_of
from datainf.tasks import Task


@dataclass(frozen=True)
class BatchGradients:
    """losses [B]; gradients: block name → [B, d_l], float32 or better; the blocks that the
    losses do not depend on are zero and named in `unused`."""

    losses: Tensor
    gradients: dict[str, Tensor]
    unused: list[str]


class GradientCapture:
    """Per-example gradients of `chosen` parameters of `model`.

    Raises `CoverageError` if a parameter's module has no rule.
    """

    def __init__(self, model: nn.Module, chosen: dict[str, nn.Parameter]) -> None:
        self.model = model
        self.chosen = chosen
        self.sites = sites(model, chosen)

    def __call__(self, task: Task, batch: Any, size: int) -> BatchGradients:
        """Gradients of a batch of `size` examples, already on the model's device."""
        sink = _Sink(size)
        with self._hooks(sink), torch.enable_grad():
            losses = task.losses(self.model, batch)
            _check_losses(losses, size)
            if losses.requires_grad:
                torch.autograd.grad(losses.sum(), sink.anchor, allow_unused=True)
        return self._gather(losses.detach(), sink)

    def _gather(self, losses: Tensor, sink: _Sink) -> BatchGradients:
        gradients, unused = {}, []
        for name, parameter in self.chosen.items():
            if (gradient := sink.gradients.get(name)) is None:
                unused.append(name)
                gradient = torch.zeros((sink.size, *parameter.shape), device=losses.device)
            gradients[name] = gradient.reshape(sink.size, -1)
        return BatchGradients(losses, gradients, unused)

    @contextmanager
    def _hooks(self, sink: _Sink) -> Iterator[None]:
        handles = [site.module.register_forward_hook(_hook(site, sink)) for site in self.sites]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off, for the time being; each module's own mode is put back afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@dataclass
class _Sink:
    """Where the taps of one backward pass leave their gradients."""

    size: int
    anchor: Tensor = field(default_factory=lambda: torch.zeros((), requires_grad=True))
    gradients: dict[str, Tensor] = field(default_factory=dict)

    def add(self, site: Site, rule: Rule, X: Tensor, dY: Tensor) -> None:
        if X.shape[0] != self.size or dY.shape[0] != self.size:
            raise CoverageError(
                f"{site.name}: the module sees {X.shape[0]} rows where the batch has {self.size} "
                "examples, so its rows cannot be told apart by example",
                remedy="leave its parameters out with --trainable",
            )
        for local, gradient in rule(site.module, X, dY, frozenset(site.blocks)).items():
            name = site.blocks[local]
            # A module that runs twice, or a tied parameter, sums over its uses.
            known = self.gradients.get(name)
            self.gradients[name] = gradient if known is None else known + gradient


class _Tap(torch.autograd.Function):
    """The identity; its backward feeds the sink."""

    @staticmethod
    def forward(
        ctx: Any, output: Tensor, _anchor: Tensor, X: Tensor, site: Site, rule: Rule, sink: _Sink
    ) -> Tensor:
        ctx.save_for_backward(X)
        ctx.site, ctx.rule, ctx.sink = site, rule, sink
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, dY: Tensor) -> tuple[Tensor | None, ...]:
        (X,) = ctx.saved_tensors
        ctx.sink.add(ctx.site, ctx.rule, X, dY)
        return dY, None, None, None, None, None


def _hook(site: Site, sink: _Sink) -> Any:
    rule = rule_of(site.module)
    assert rule is not None  # `sites` has made sure

    def tap(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:  # noqa: ARG001
        tapped: Tensor = _Tap.apply(output, sink.anchor, inputs[0], site, rule, sink)  # type: ignore[no-untyped-call]
        return tapped

    return tap


def _check_losses(losses: Tensor, size: int) -> None:
    if losses.shape != (size,):
        raise CoverageError(
            f"the task gave losses of shape {tuple(losses.shape)} for {size} examples",
            remedy="one loss an example, [batch]: no reduction over the batch",
        )
