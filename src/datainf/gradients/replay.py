"""Per-example gradients of any module's parameters: run the one module again, row by row.

With a module's inputs and its output's gradient dY in hand, row i's parameter gradient is the
vector-Jacobian product of the module alone with dY_i. That is exact whatever the module computes
from its parameters (DoRA's magnitudes, LoHa's Hadamard products, OFT's rotations, a norm of the
user's own), as long as its rows are independent. All rows go at once under `torch.func.vmap`
where the module's operations allow it, one after another where they do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

CHUNK_BYTES = 128 * 2**20
"""What the rows of one vmap may need for a gradient of the module's largest tensor each."""


class InseparableError(Exception):
    """A call's rows cannot be told apart by example; the text goes on after the module's name."""


class Call:
    """The arguments of one call of a module, taken apart into rows.

    Args:
        args, kwargs: What the module was called with; tensors in containers are found.
        rows: How many rows its output has. A tensor of as many rows is split; others are shared.
        outputs: Places of the outputs by row among all leaves of what the module returned.
        known: Which tensors were split in an earlier call, so that one whose length happens to
            equal `rows` this time is not.

    Raises `InseparableError` if a floating-point tensor has neither a row an example nor one for
    all, or a tensor that was split before cannot be now.
    """

    def __init__(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        rows: int,
        outputs: Sequence[int] = (0,),
        known: list[bool] | None = None,
    ) -> None:
        leaves, self._spec = tree_flatten((args, dict(kwargs)))
        self._constants = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self.outputs = list(outputs)
        self.tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        self.by_row = [t.dim() > 0 and len(t) == rows for t in self.tensors]
        if known is not None and len(known) == len(self.by_row):
            if any(before and not now for before, now in zip(known, self.by_row, strict=True)):
                raise InseparableError(f"was called with other than {rows} rows")
            self.by_row = known
        for tensor, split in zip(self.tensors, self.by_row, strict=True):
            whole = tensor.dim() == 0 or len(tensor) == 1 or not tensor.is_floating_point()
            if not split and not whole:
                raise InseparableError(f"sees {len(tensor)} rows")

    def build(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with other tensors in their places."""
        leaves = list(self._constants)
        for place, tensor in zip(self._places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = tree_unflatten(leaves, self._spec)
        return args, kwargs

    def outputs_of(self, result: Any) -> list[Tensor]:
        """The outputs by row, of what the module returned."""
        leaves = tree_flatten(result)[0]
        return [leaves[place] for place in self.outputs]


def replay(
    module: nn.Module,
    call: Call,
    tensors: Sequence[Tensor],
    dY: Sequence[Tensor],
    wanted: Sequence[str],
    *,
    loop: bool = False,
) -> tuple[dict[str, Tensor], bool]:
    """Name below the module → [B, *parameter's shape], float32 or better; and whether the rows
    went one after another, because `loop` said so or vmap could not follow the module.

    Args:
        module: Run again by its forward, with these parameters replaced; its hooks run too.
        call: How the tensors make up its arguments.
        tensors: The call's tensors.
        dY: The gradients [B, …] of its outputs by row.
        wanted: Names of parameters, as in `module.named_parameters()`.
    """
    split = [t for t, s in zip(tensors, call.by_row, strict=True) if s]
    shared = [t for t, s in zip(tensors, call.by_row, strict=True) if not s]
    again = _Again(module, call, wanted, shared)
    rows = [tensor.detach() for tensor in (*dY, *split)]
    rows = [row.unsqueeze(1) for row in rows]  # a batch of one each
    with _attributes_kept(module), torch.enable_grad():
        if not loop and len(rows[0]) > 1:
            try:
                return torch.func.vmap(again.mapped, chunk_size=_chunk(module))(*rows), False
            except (RuntimeError, ValueError, NotImplementedError) as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                # vmap knows no .item(), no branch on data, no autograd.Function of the old form.
        found = [again.plain(*(tensor[i] for tensor in rows)) for i in range(len(rows[0]))]
    return {name: torch.stack([row[name] for row in found]) for name in wanted}, len(found) > 1


def tangents(
    module: nn.Module, call: Call, tensors: Sequence[Tensor], directions: Mapping[str, Tensor]
) -> list[Tensor]:
    """What the outputs by row of a call change by, when its parameters change by `directions` (name
    below the module → [*parameter's shape]): J W, as large as the outputs are, by forward-mode
    differentiation.

    Raises what torch does for a module that it cannot differentiate so.
    """
    arguments = call.build([tensor.detach() for tensor in tensors])

    def outputs(replaced: dict[str, Tensor]) -> tuple[Tensor, ...]:
        result = torch.func.functional_call(module, replaced, *arguments, tie_weights=False)
        return tuple(call.outputs_of(result))

    own = {name: module.get_parameter(name).detach() for name in directions}
    ways = {name: W.to(own[name]) for name, W in directions.items()}
    with _attributes_kept(module), torch.no_grad():
        return list(torch.func.jvp(outputs, (own,), (ways,))[1])


@contextmanager
def _attributes_kept(module: nn.Module) -> Iterator[None]:
    """Put back what modules note of a forward pass: under vmap it would be of no use to anyone."""
    before = [(inner, dict(vars(inner))) for inner in module.modules()]
    try:
        yield
    finally:
        for inner, attributes in before:
            vars(inner).clear()
            vars(inner).update(attributes)


class _Again:
    """A module and what all rows share, ready to be run for one row."""

    def __init__(
        self, module: nn.Module, call: Call, wanted: Sequence[str], shared: Sequence[Tensor]
    ) -> None:
        self.module, self.call = module, call
        self.shared = [tensor.detach() for tensor in shared]
        self.parameters = {name: module.get_parameter(name).detach() for name in wanted}

    def mapped(self, *row: Tensor) -> dict[str, Tensor]:
        """A row's gradients through `torch.func`, for vmap. `row`: dY, then the split tensors."""
        dy, own = self._parted(row)
        pull = torch.func.vjp(lambda replaced: self._outputs(replaced, own), self.parameters)[1]
        (gradients,) = pull(dy)
        return {name: _float(gradient) for name, gradient in gradients.items()}

    def plain(self, *row: Tensor) -> dict[str, Tensor]:
        """The same by plain autograd, which takes everything."""
        dy, own = self._parted(row)
        replaced = {name: p.clone().requires_grad_() for name, p in self.parameters.items()}
        outputs = self._outputs(replaced, own)
        live = [i for i, output in enumerate(outputs) if output.requires_grad]
        found: Sequence[Tensor | None] = [None] * len(replaced)
        if live:
            found = torch.autograd.grad(
                [outputs[i] for i in live],
                list(replaced.values()),
                [dy[i] for i in live],
                allow_unused=True,
            )
        return {
            name: _float(torch.zeros_like(p).detach() if gradient is None else gradient)
            for (name, p), gradient in zip(replaced.items(), found, strict=True)
        }

    def _parted(self, row: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        split = sum(self.call.by_row)
        return list(row[: len(row) - split]), list(row[len(row) - split :])

    def _outputs(self, replaced: dict[str, Tensor], own: Sequence[Tensor]) -> list[Tensor]:
        rows, common = iter(own), iter(self.shared)
        args, kwargs = self.call.build(
            [next(rows) if s else next(common) for s in self.call.by_row]
        )
        result = torch.func.functional_call(
            self.module, replaced, args, kwargs, tie_weights=False
        )  # tied parameters have an entry each
        return self.call.outputs_of(result)


def _float(gradient: Tensor) -> Tensor:
    return gradient if gradient.itemsize >= 4 else gradient.float()


def _chunk(module: nn.Module) -> int:
    largest = max((p.numel() for p in module.parameters()), default=1)
    return max(1, CHUNK_BYTES // (4 * largest))
