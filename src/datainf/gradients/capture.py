"""Per-example gradients of a batch, in one forward and one backward pass.

Each module that holds chosen parameters gets a forward hook that passes its output through a
`Tap`: the identity, whose backward hands the output's gradient, with the module's input, to the
module's rule, or to the module's replay where there is no rule. All taps hang on one scalar, the
anchor, with respect to which the summed loss is differentiated. So the backward pass runs just as
far as the lowest tap, no weight's gradient is formed by autograd, no parameter's `requires_grad`
is touched, and memory is released as the pass goes down. The model's own code, its attention and
its padding are left as they are.

A module's rows are the batch's examples, or `task.parts` rows an example, part after part: row r
belongs to example r modulo the batch's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from datainf.errors import CoverageError
from datainf.gradients.parameters import Site, sites
from datainf.gradients.replay import Call, InseparableError, replay
from datainf.tasks import Task

TAKE_ALONE = (
    "allow the fallback, which takes each example alone; or leave the parameter out with "
    "--trainable"
)

LOSS_SCALES = (2.0**12, 2.0**6, 1.0)
"""Tried in this order for a float16 model: gradients that are too small for float16 are lifted
into its range, exactly, since these are powers of two; one that overflows is tried lower."""


@dataclass(frozen=True)
class BatchGradients:
    """losses [B]; gradients: block name → [B, d_l], float32 or better; the blocks that the
    losses do not depend on are zero and named in `unused`."""

    losses: Tensor
    gradients: dict[str, Tensor]
    unused: list[str]


class GradientCapture:
    """Per-example gradients of `chosen` parameters of `model`."""

    def __init__(self, model: nn.Module, chosen: dict[str, nn.Parameter]) -> None:
        self.model = model
        self.chosen = chosen
        self.sites = sites(model, chosen)
        self.reached: set[str] = set()
        """The sites that have given a gradient so far."""

    def __call__(self, task: Task, batch: Any, size: int) -> BatchGradients:
        """Gradients of a batch of `size` examples, already on the model's device.

        Raises `CoverageError` naming the parameters of a module whose rows are not the examples.
        """
        for scale in loss_scales(self.model):
            sink = _Sink(size, task.parts, concatenate=task.concatenate, scale=scale)
            with self._hooks(sink), torch.enable_grad():
                losses = batch_losses(task, self.model, batch, size)
                if losses.requires_grad:
                    torch.autograd.grad(losses.sum() * scale, sink.anchor, allow_unused=True)
            if scale == 1 or all(torch.isfinite(g).all() for g in sink.gradients.values()):
                break
        self.reached |= sink.reached
        losses = losses.detach()
        return self._gather(losses.mean(dim=1) if losses.dim() == 2 else losses, sink)

    def _gather(self, losses: Tensor, sink: _Sink) -> BatchGradients:
        gradients, unused = {}, []
        for name, parameter in self.chosen.items():
            if (gradient := sink.gradients.get(name)) is None:
                unused.append(name)
                copies = sink.parts if sink.concatenate else 1
                gradient = torch.zeros((sink.size, copies * parameter.numel()))
            gradients[name] = gradient.to(losses.device)
        return BatchGradients(losses, gradients, unused)

    @contextmanager
    def _hooks(self, sink: _Sink) -> Iterator[None]:
        handles = [
            site.module.register_forward_hook(partial(_tap, site, sink), with_kwargs=True)
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
        raise CoverageError(
            f"the task gave losses of shape {tuple(losses.shape)} for {size} examples",
            remedy="one loss an example, [batch]: no reduction over the batch",
        )
    return losses


def loss_scales(model: nn.Module) -> tuple[float, ...]:
    """What to multiply the loss by, to be tried in this order; only float16 needs any."""
    half = any(parameter.dtype == torch.float16 for parameter in model.parameters())
    return LOSS_SCALES if half else (1.0,)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off, for the time being; each module's own mode is put back afterwards.

    transformers recomputes activations (gradient checkpointing) in training mode only; where the
    model has that switched on, it stays on.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    with ExitStack() as stack:
        for module in model.modules():
            if _is_checkpointed(module):
                stack.enter_context(_recomputing(module))
        try:
            yield
        finally:
            for module in training:
                module.training = True


def _is_checkpointed(module: nn.Module) -> bool:
    from transformers.modeling_layers import GradientCheckpointingLayer

    return isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing


@contextmanager
def _recomputing(module: nn.Module) -> Iterator[None]:
    forward = module.forward
    own = vars(module).get("forward")

    def recomputed(*args: Any, **kwargs: Any) -> Any:
        cache = kwargs.get("past_key_values")
        if not torch.is_grad_enabled() or _holds_a_prefix(cache):
            return forward(*args, **kwargs)
        if cache is not None:  # it would be filled twice
            kwargs["past_key_values"] = None
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    module.forward = recomputed
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


def _holds_a_prefix(cache: Any) -> bool:
    """Whether a cache of keys and values came filled, as by prefix tuning."""
    return cache is not None and cache.get_seq_length() > 0


@dataclass
class _Sink:
    """Where the taps of one backward pass leave their gradients."""

    size: int
    parts: int
    concatenate: bool
    scale: float
    anchor: Tensor = field(default_factory=lambda: torch.zeros((), requires_grad=True))
    gradients: dict[str, Tensor] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)
    replaying: bool = False

    def add(self, site: Site, call: Call, tensors: list[Tensor], dY: Tensor) -> None:
        rows = dY.shape[0] if dY.dim() else 0
        if rows not in {self.size, self.size * self.parts}:
            raise _inseparable(site, f"sees {rows} rows", self.size)
        if site.rule is not None and tensors[0].shape[0] != rows:
            raise _inseparable(site, f"sees {tensors[0].shape[0]} rows", self.size)
        try:
            found = self._differentiate(site, call, tensors, dY)
        except NotImplementedError as error:
            raise _inseparable(site, f"cannot be taken apart ({error})", self.size) from None
        self.reached.add(site.name)
        for local, gradient in found.items():
            name = site.blocks[local]
            gradient = self._by_example(gradient) / self.scale
            # A module that runs twice, or a tied parameter, sums over its uses.
            known = self.gradients.get(name)
            self.gradients[name] = gradient if known is None else known + gradient

    def _differentiate(
        self, site: Site, call: Call, tensors: list[Tensor], dY: Tensor
    ) -> Mapping[str, Tensor]:
        if site.rule is not None:
            return site.rule(site.module, tensors[0], dY, frozenset(site.blocks))
        self.replaying = True
        try:
            return replay(site.module, call, tensors, dY, list(site.blocks))
        finally:
            self.replaying = False

    def _by_example(self, gradient: Tensor) -> Tensor:
        """[rows, …] → [B, d], or [B, parts·d]."""
        if gradient.shape[0] == self.size and not self.concatenate:
            return gradient.reshape(self.size, -1)
        if gradient.shape[0] != self.size * self.parts:
            raise CoverageError(
                "a module runs once for all parts of an example: their gradients cannot be kept "
                "apart",
                remedy="average them instead of concatenating",
            )
        by_part = gradient.reshape(self.parts, self.size, -1)
        if self.concatenate:
            return by_part.transpose(0, 1).reshape(self.size, -1)
        return by_part.sum(dim=0)


class _Tap(torch.autograd.Function):
    """The identity; its backward feeds the sink."""

    @staticmethod
    def forward(
        ctx: Any,
        output: Tensor,
        _anchor: Tensor,
        site: Site,
        call: Call,
        sink: _Sink,
        *tensors: Any,
    ) -> Tensor:
        ctx.save_for_backward(*tensors)
        ctx.site, ctx.call, ctx.sink = site, call, sink
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, dY: Tensor) -> tuple[Tensor | None, ...]:
        tensors = list(ctx.saved_tensors)
        ctx.sink.add(ctx.site, ctx.call, tensors, dY)
        return dY, *[None] * (4 + len(tensors))


def _tap(
    site: Site,
    sink: _Sink,
    module: nn.Module,  # noqa: ARG001 - a hook's signature
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    output: Any,
) -> Any:
    if sink.replaying or not torch.is_grad_enabled():
        return output
    if not isinstance(output, Tensor) or output.dim() == 0:
        raise _inseparable(site, f"returns a {type(output).__name__}", sink.size)
    if output.shape[0] == 1 and sink.size > 1 and sink.parts == 1:
        # One row for all examples, such as the position embeddings: each gets its own, so that
        # their gradients come apart.
        output = output.expand(sink.size, *output.shape[1:])
        args = tuple(_expanded(arg, sink.size) for arg in args)
        kwargs = {name: _expanded(arg, sink.size) for name, arg in kwargs.items()}
    if site.rule is not None:  # which reads one tensor alone
        args, kwargs = (args or tuple(kwargs.values()))[:1], {}
    try:
        call = Call(args, kwargs, output.shape[0])
    except InseparableError as error:
        if site.rule is None:
            raise _inseparable(site, str(error), sink.size) from None
        return output  # not by rows: seen as a parameter that no gradient reached
    tensors = [tensor.detach() for tensor in call.tensors]
    return _Tap.apply(output, sink.anchor, site, call, sink, *tensors)  # type: ignore[no-untyped-call]


def _expanded(value: Any, size: int) -> Any:
    single = isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == 1
    return value.expand(size, *value.shape[1:]) if single else value


def _inseparable(site: Site, what: str, size: int) -> CoverageError:
    shown = ", ".join(list(site.blocks.values())[:3])
    return CoverageError(
        f"{shown}: the module {site.name or 'itself'} ({type(site.module).__name__}) {what} where "
        f"the batch has {size} examples, so its rows cannot be told apart by example",
        remedy=TAKE_ALONE,
    )
