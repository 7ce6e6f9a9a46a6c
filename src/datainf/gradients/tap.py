"""Taps: identities in the forward pass whose backward pass yields per-example gradients.

A module's rows are the batch's examples, or `parts` rows an example, part after part: row r
belongs to example r modulo the batch's size. A call whose rows are not the examples is guarded
instead: should a gradient come back through it, it belongs to nobody, and the pass stops there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from datainf.errors import CoverageError
from datainf.gradients.parameters import Site
from datainf.gradients.reduction import Reductions
from datainf.gradients.replay import Call, InseparableError, replay
from datainf.gradients.rules import linear, projected_linear
from datainf.projection import TwoSided

Calls = dict[tuple[str, int], tuple[list[int], list[bool]]]

TAKE_ALONE = (
    "allow the fallback, which takes each example alone; or leave the parameter out with "
    "--trainable"
)


class SiteError(CoverageError):
    """The rows of a site's module are not the examples."""

    def __init__(self, site: Site, what: str, size: int) -> None:
        self.site = site
        shown = ", ".join(list(site.blocks.values())[:3])
        super().__init__(
            f"{shown}: the module {site.name or 'itself'} ({type(site.module).__name__}) {what} "
            f"where the batch has {size} examples, so its rows cannot be told apart by example",
            remedy=TAKE_ALONE,
        )


@dataclass
class Sink:
    """Where the taps of one backward pass leave their gradients.

    size: examples of the batch; parts: rows an example, at most; concatenate: whether an
    example's parts stay apart; scale: what the loss was multiplied by;
    copying: whether taps copy what they pass; calls: which outputs
    and inputs of a site had a row an example, by its name and number of outputs; looped:
    the sites that no vmap can follow, known from pass to pass; reductions: what is done to a
    block's gradients before they are kept.
    """

    size: int
    parts: int
    concatenate: bool
    scale: float
    copying: bool
    calls: Calls
    looped: set[str]
    reductions: Reductions = field(default_factory=dict)
    anchor: Tensor = field(default_factory=lambda: torch.zeros((), requires_grad=True))
    gradients: dict[str, Tensor] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)
    replaying: bool = False

    @property
    def rows(self) -> set[int]:
        """How many rows a module may see."""
        return {self.size, self.size * self.parts}

    def add(self, site: Site, call: Call, tensors: list[Tensor], dY: Sequence[Tensor]) -> None:
        """Add a call's gradients to the blocks of its site."""
        try:
            found = self._differentiate(site, call, tensors, dY)
        except NotImplementedError as error:
            raise SiteError(site, f"cannot be taken apart ({error})", self.size) from None
        self.reached.add(site.name)
        for local, gradient in found.items():
            name = site.blocks[local]
            gradient = self._by_example(site, gradient)
            if name in self.reductions and not (local == "weight" and self._sides(site)):
                gradient = self.reductions[name](gradient)
            if self.scale != 1:
                gradient = gradient / self.scale
            # A module that runs twice, or a tied parameter, sums over its uses.
            known = self.gradients.get(name)
            self.gradients[name] = gradient if known is None else known + gradient

    def _differentiate(
        self, site: Site, call: Call, tensors: list[Tensor], dY: Sequence[Tensor]
    ) -> Mapping[str, Tensor]:
        if sides := self._sides(site):
            return projected_linear(tensors[0], dY[0], frozenset(site.blocks), sides)
        if site.rule is not None:
            return site.rule(site.module, tensors[0], dY[0], frozenset(site.blocks))
        self.replaying = True
        try:
            found, looped = replay(
                site.module, call, tensors, dY, list(site.blocks), loop=site.name in self.looped
            )
        finally:
            self.replaying = False
        if looped:
            self.looped.add(site.name)
        return found

    def _sides(self, site: Site) -> TwoSided | None:
        """How a linear layer's weight is projected before the product of its sides is formed."""
        weight = self.reductions.get(site.blocks.get("weight", ""))
        return weight.sides if site.rule is linear and weight is not None else None

    def _by_example(self, site: Site, gradient: Tensor) -> Tensor:
        """[rows, …] → [B, d], or [B, parts·d]."""
        if gradient.shape[0] == self.size and not self.concatenate:
            return gradient.reshape(self.size, -1)
        if gradient.shape[0] != self.size * self.parts:
            raise CoverageError(
                f"{next(iter(site.blocks.values()))}: its module runs once for all parts of an "
                "example, whose gradients cannot be kept apart",
                remedy="average them instead of concatenating",
            )
        by_part = gradient.reshape(self.parts, self.size, -1)
        if self.concatenate:
            return by_part.transpose(0, 1).reshape(self.size, -1)
        return by_part.sum(dim=0)


def tap(
    site: Site,
    sink: Sink,
    module: nn.Module,  # noqa: ARG001 - a hook's signature
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    output: Any,
) -> Any:
    """A forward hook, with the site and the sink bound: the output, tapped or guarded."""
    if sink.replaying or not torch.is_grad_enabled():
        return output
    if _is_single(output) and output.dim() > 2 and sink.size > 1 and sink.parts == 1:
        # One row for all examples, such as position embeddings: each gets its own, so that their
        # gradients come apart.
        output = _expanded(output, sink.size)
        args = tuple(_expanded(arg, sink.size) for arg in args)
        kwargs = {name: _expanded(arg, sink.size) for name, arg in kwargs.items()}
    if site.rule is not None:  # which reads one tensor alone
        args, kwargs = (args or tuple(kwargs.values()))[:1], {}
    leaves, spec = tree_flatten(output)
    places = [i for i, leaf in enumerate(leaves) if _is_differentiable(leaf)]
    try:
        call = _call(site, sink, args, kwargs, leaves, places)
        by_row = call.outputs
        _tap_places(site, sink, call, leaves)
        why = "gives something else beside its rows,"
    except InseparableError as error:
        why, by_row = str(error), []
    for i in places:
        if i not in by_row:
            leaves[i] = _Guard.apply(leaves[i], sink.anchor, SiteError(site, why, sink.size))  # type: ignore[no-untyped-call]
    return tree_unflatten(leaves, spec)


def _call(
    site: Site,
    sink: Sink,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    leaves: list[Any],
    places: list[int],
) -> Call:
    by_row = _by_row(leaves, places, sink)
    if not by_row:
        raise InseparableError(f"gives {_shapes(leaves)}")
    # What had a row an example before has one now, and nothing else that happens to be as long.
    # In a batch of one, everything has one row.
    key, rows = (site.name, len(leaves)), len(leaves[by_row[0]])
    outputs, inputs = sink.calls.get(key, (by_row, None)) if rows > 1 else (by_row, None)
    if not set(outputs) <= set(by_row):
        raise InseparableError(f"gives {_shapes(leaves)}")
    call = Call(args, kwargs, rows, outputs, inputs)
    if not any(call.by_row):
        raise InseparableError(f"sees {_shapes(call.tensors)}")
    if site.rule is None and rows > 1:
        sink.calls[key] = (call.outputs, call.by_row)
    return call


def _by_row(leaves: list[Any], places: list[int], sink: Sink) -> list[int]:
    """The outputs that have as many rows as the first that has a row an example."""
    rows = [len(leaves[i]) if leaves[i].dim() else 0 for i in places]
    first = next((n for n in rows if n in sink.rows), None)
    return [i for i, n in zip(places, rows, strict=True) if n == first]


def _shapes(leaves: list[Any]) -> str:
    shapes = [str(list(leaf.shape)) for leaf in leaves if isinstance(leaf, Tensor)]
    return " and ".join(shapes[:2]) or "no tensor"


def _tap_places(site: Site, sink: Sink, call: Call, leaves: list[Any]) -> None:
    outputs = [leaves[i] for i in call.outputs]
    inputs = [tensor.detach() for tensor in call.tensors]
    tapped = _Tap.apply(sink.anchor, site, call, sink, len(outputs), *outputs, *inputs)  # type: ignore[no-untyped-call]
    call.tensors = []  # autograd keeps them, or recomputes them where activations are checkpointed
    for i, leaf in zip(call.outputs, tapped, strict=True):
        leaves[i] = leaf


def _is_differentiable(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def _is_single(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == 1


def _expanded(value: Any, size: int) -> Any:
    return value.expand(size, *value.shape[1:]) if _is_single(value) else value


class _Tap(torch.autograd.Function):
    """The identity on a call's outputs; its backward feeds the sink."""

    @staticmethod
    def forward(
        ctx: Any, _anchor: Tensor, site: Site, call: Call, sink: Sink, outputs: int, *tensors: Any
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*tensors[outputs:])
        ctx.site, ctx.call, ctx.sink = site, call, sink
        ctx.inputs = len(tensors) - outputs
        # A view cannot be changed in place afterwards, as some models do.
        return tuple(t.clone() if sink.copying else t.view_as(t) for t in tensors[:outputs])

    @staticmethod
    def backward(ctx: Any, *dY: Tensor) -> tuple[Tensor | None, ...]:
        ctx.sink.add(ctx.site, ctx.call, list(ctx.saved_tensors), dY)
        return (*[None] * 5, *dY, *[None] * ctx.inputs)


class _Guard(torch.autograd.Function):
    """The identity; a gradient that comes back through it is an error."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, _anchor: Tensor, error: SiteError) -> Tensor:
        ctx.error = error
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, dY: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ARG004
        raise ctx.error
