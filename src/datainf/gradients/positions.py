"""Where in an example a score comes from: its gradient's products with directions, by position.

A module's gradient is its output's, pulled back: g = Jᵀ dY. Its product with a direction W of its
parameters is therefore a sum over the outputs,

    g · W = ⟨dY, J W⟩ = Σ_t dY_t · (J W)_t,

where J W is what the outputs change by when the parameters move along W. Term t is the part of
position t. Of a linear layer, J W at t is W X_t + w. Whatever module it is, the parts of all
positions and all modules sum to the example's whole product, which is its score where W is a
query's solved vector (`datainf.explanations`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from datainf.gradients.capture import BatchGradients, GradientCapture, hooked
from datainf.gradients.engine import PerExample
from datainf.gradients.parameters import Site
from datainf.gradients.replay import Call, tangents
from datainf.gradients.rules import linear
from datainf.gradients.tap import Sink
from datainf.tasks import Task
from datainf.tasks.streams import Stream

OVERFLOW = "overflow"
"""Stands among the blocks of a pass whose products are not finite."""
PRODUCT_BYTES = 64 * 2**20
"""As many directions are multiplied with at one time as have these bytes of products."""


@dataclass(frozen=True)
class Parts:
    """One example's products with k directions, taken apart.

    `at`: number of positions P → [k, rows, P], the sum over all outputs that have so many, for each
    of the rows that a batch holds for the example. `elsewhere`: [k], of outputs without positions,
    such as a classifier's. Both float64, on the CPU. All of it sums to the products.
    """

    at: Mapping[int, Tensor]
    elsewhere: Tensor

    @property
    def total(self) -> Tensor:
        """The products themselves, [k]."""
        return self.elsewhere + sum(part.sum(dim=(1, 2)) for part in self.at.values())

    def along(
        self, streams: Sequence[Stream], prompts: int = 0, apart: Collection[int] = ()
    ) -> tuple[list[Tensor], Tensor]:
        """The parts at the tokens of each stream, [k, tokens], and what lies at none of them, [k].
        `prompts` is how many positions an adapter puts in front of an example's own. Outputs with
        as many positions as `apart` has may be a prompt's, and lie at no token."""
        widths: dict[str, int] = {}
        for stream in streams:
            widths[stream.axis] = max(widths.get(stream.axis, 0), len(stream.tokens))
        elsewhere = self.elsewhere.clone()
        found = [self.elsewhere.new_zeros((len(elsewhere), len(s.tokens))) for s in streams]
        for positions, parts in self.at.items():
            own = () if positions in apart else (positions, positions - prompts)
            axes = [axis for axis, width in widths.items() if width in own]
            elsewhere += parts.sum(dim=(1, 2))
            for stream, total in zip(streams, found, strict=True):
                if axes == [stream.axis] and stream.row < parts.shape[1]:
                    start = positions - widths[stream.axis]
                    part = parts[:, stream.row, start : start + total.shape[1]]
                    total += part
                    elsewhere -= part.sum(dim=1)
        return found, elsewhere


@dataclass
class _Sink(Sink):
    """Takes products with `directions` (block's name → [k, *shape]) in the place of gradients."""

    directions: Mapping[str, Tensor] = field(default_factory=dict)
    hooked: Mapping[str, nn.Parameter] = field(default_factory=dict)
    """Those whose own hooks change their gradients, which have no positions any more."""
    at: dict[int, Tensor] = field(default_factory=dict)
    elsewhere: Tensor | None = None

    def add(self, site: Site, call: Call, tensors: list[Tensor], dY: Sequence[Tensor]) -> None:
        wanted = {
            local: self.directions[name]
            for local, name in site.blocks.items()
            if name in self.directions
        }
        self.reached.add(site.name)
        for name in site.blocks.values():
            self.gradients[name] = torch.ones(())  # it is in use, which is all that is asked
        if not wanted:
            return
        if self.concatenate or self.hooked.keys() & {*site.blocks.values()}:
            self._add_whole(site, call, tensors, dY)
            return
        if site.rule is linear:
            self._add(_of_linear(tensors[0], dY[0], wanted))
            return
        self.replaying = True  # the module runs once more, untapped
        try:
            found = _of_any(site.module, call, tensors, dY, wanted)
        except (RuntimeError, NotImplementedError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            found = None  # no forward-mode derivative: its gradient, then, without positions
        finally:
            self.replaying = False
        if found is None:
            self._add_whole(site, call, tensors, dY)
        else:
            for products in found:
                self._add(products)

    def _add(self, products: Tensor) -> None:
        """[k, rows, P], or [k, rows] where there are no positions."""
        products = products.detach().cpu().double() / self.scale
        self._note(products)
        if products.dim() == 2:
            self._add_elsewhere(products.sum(dim=1))
            return
        known = self.at.get(products.shape[2])
        if known is not None and known.shape != products.shape:  # rows of another number
            self._add_elsewhere(products.sum(dim=(1, 2)))
        else:
            self.at[products.shape[2]] = products if known is None else known + products

    def _note(self, products: Tensor) -> None:
        """Have the pass see that they overflowed, where a smaller scale may help."""
        if not torch.isfinite(products).all():
            self.gradients[OVERFLOW] = torch.tensor(torch.nan)

    def _add_elsewhere(self, products: Tensor) -> None:
        self.elsewhere = products if self.elsewhere is None else self.elsewhere + products

    def _add_whole(
        self, site: Site, call: Call, tensors: list[Tensor], dY: Sequence[Tensor]
    ) -> None:
        for local, gradient in self._differentiate(site, call, tensors, dY).items():
            W = self.directions.get(site.blocks[local])
            if W is None:
                continue
            own = self._by_example(site, gradient)
            if (parameter := self.hooked.get(site.blocks[local])) is not None:
                own = hooked(parameter, own)
            own = own[0] / self.scale
            products = (W.flatten(1).to(own) @ own).detach().cpu().double()
            self._note(products)
            self._add_elsewhere(products)


def _of_linear(X: Tensor, dY: Tensor, wanted: Mapping[str, Tensor]) -> Tensor:
    """dY_t · (W X_t + w) of Y = X Wᵀ + b, [k, rows, P] or [k, rows]; W [k, out, in], w [k, out]."""
    X, dY = (t if t.itemsize >= 4 else t.float() for t in (X, dY))
    extra = X.dim() - 3
    if extra > 0:  # more than one dimension between rows and features: no one position
        X, dY = X.flatten(1, -2), dY.flatten(1, -2)
    W, w = wanted.get("weight"), wanted.get("bias")
    k = len(next(iter(wanted.values())))
    found = dY.new_zeros((k, *dY.shape[:-1]))
    if W is not None:
        W = W.to(dY)
        inner, outer = (dY, X) if W.shape[2] <= W.shape[1] else (X, dY)
        W = W if W.shape[2] <= W.shape[1] else W.transpose(1, 2)
        rows = outer.numel() * outer.itemsize
        for part in torch.split(torch.arange(k), max(1, PRODUCT_BYTES // max(1, rows))):
            way = W[part].reshape(len(part), *[1] * (dY.dim() - 2), *W.shape[1:])
            found[part] += ((inner @ way) * outer).sum(dim=-1)
    if w is not None:
        found += (dY @ w.to(dY).T).movedim(-1, 0)
    return found.sum(dim=2) if extra > 0 else found


def _of_any(
    module: nn.Module,
    call: Call,
    tensors: Sequence[Tensor],
    dY: Sequence[Tensor],
    wanted: Mapping[str, Tensor],
) -> list[Tensor]:
    """⟨dY, J W⟩ of each output by row; by position where the output is [rows, P, features] and no
    convolution's, [k, rows, P], else [k, rows]."""
    convolves = isinstance(module, nn.modules.conv._ConvNd)
    k = len(next(iter(wanted.values())))
    of_each: list[list[Tensor]] = [[] for _ in dY]
    for i in range(k):
        moved = tangents(module, call, tensors, {name: W[i] for name, W in wanted.items()})
        for found, own, change in zip(of_each, dY, moved, strict=True):
            own, change = (t if t.itemsize >= 4 else t.float() for t in (own, change))
            positions = own.dim() == 3 and not convolves
            products = own * change
            found.append(products.sum(dim=-1) if positions else products.flatten(1).sum(dim=1))
    return [torch.stack(found) for found in of_each]


class Positions(GradientCapture):
    """Parts of one example after another. `gradients` has settled by which modules gradients are
    taken."""

    def __init__(self, gradients: PerExample) -> None:
        settled = gradients.capture
        super().__init__(gradients.model, gradients.chosen, settled.above)
        self.copying, self.task, self.device = settled.copying, gradients.task, gradients.device
        self.directions: Mapping[str, Tensor] = {}
        self._sinks: list[_Sink] = []

    def parts(self, example: Any, directions: Mapping[str, Tensor]) -> Parts:
        """The parts of an example's products with k directions, block's name → [k, d_l].

        Raises what `GradientCapture` does.
        """
        shapes = {name: tuple(p.shape) for name, p in self.chosen.items()}
        self.directions = {
            name: W if self.task.concatenate else W.reshape(len(W), *shapes[name])
            for name, W in directions.items()
        }
        batch = send_to_device(self.task.told_apart(self.task.collate([example])), self.device)
        self(self.task, batch, 1)
        sink = self._sinks[-1]
        k = len(next(iter(directions.values())))
        nothing = sink.elsewhere
        if nothing is None:
            nothing = torch.zeros(k, dtype=torch.float64)
        self._sinks.clear()
        return Parts(sink.at, nothing)

    def _sink(self, task: Task, size: int, scale: float) -> Sink:
        chosen: Mapping[str, Any] = self.chosen
        changed = {name: p for name, p in chosen.items() if p._backward_hooks}
        sink = _Sink(
            size, task.parts, task.concatenate, scale, self.copying, self._calls, self.looped,
            directions=self.directions, hooked=changed,
        )  # fmt: skip
        self._sinks = [sink]
        return sink

    def _gather(self, losses: Tensor, sink: Sink) -> BatchGradients:  # noqa: ARG002
        return BatchGradients(losses, {}, [])
