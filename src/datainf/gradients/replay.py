"""Per-example gradients of any module's parameters: run the one module again, row by row.

With a module's inputs and its output's gradient dY in hand, row i's parameter gradient is the
vector-Jacobian product of the module alone with dY_i. That is exact whatever the module computes
from its parameters (DoRA's magnitudes, LoHa's Hadamard products, OFT's rotations, a norm of the
user's own), as long as its rows are independent. All rows go at once under `torch.func.vmap`
where the module's operations allow it, one after another where they do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

CHUNK_BYTES = 128 * 2**20
"""What the rows of one vmap may need for a gradient of the module's largest tensor each."""


class Call:
    """The arguments of one call of a module, taken apart into rows.

    Raises `InseparableError` if a tensor among them has neither a row an example nor one for all.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], rows: int) -> None:
        leaves, self._spec = _flatten(args, kwargs)
        self._constants = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self.tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        self.by_row = [t.dim() > 0 and t.shape[0] == rows for t in self.tensors]
        for tensor, split in zip(self.tensors, self.by_row, strict=True):
            if not split and tensor.dim() > 0 and tensor.shape[0] != 1:
                raise InseparableError(f"sees {tensor.shape[0]} rows")

    def build(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with other tensors in their places."""
        leaves = list(self._constants)
        for place, tensor in zip(self._places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = tree_unflatten(leaves, self._spec)
        return args, kwargs


class InseparableError(Exception):
    """A module's rows cannot be told apart by example; the text goes on after its name."""


def replay(
    module: nn.Module, call: Call, tensors: Sequence[Tensor], dY: Tensor, wanted: Sequence[str]
) -> dict[str, Tensor]:
    """Name below the module → [B, *parameter's shape], float32 or better.

    Args:
        module: Run again by its forward, with these parameters replaced; its hooks run too.
        call: How the tensors make up its arguments.
        tensors: The call's tensors.
        dY: The output's gradient [B, …].
        wanted: Names of parameters, as in `module.named_parameters()`.
    """
    parameters = {name: module.get_parameter(name).detach() for name in wanted}
    split = [
        tensor.detach().unsqueeze(1) for tensor, s in zip(tensors, call.by_row, strict=True) if s
    ]
    shared = [tensor.detach() for tensor, s in zip(tensors, call.by_row, strict=True) if not s]

    def one(dy: Tensor, *rows: Tensor) -> dict[str, Tensor]:
        own, common = iter(rows), iter(shared)
        args, kwargs = call.build([next(own) if s else next(common) for s in call.by_row])

        def output(replaced: dict[str, Tensor]) -> Tensor:
            result: Tensor = torch.func.functional_call(module, replaced, args, kwargs)
            return result

        pull = torch.func.vjp(output, parameters)[1]
        (gradients,) = pull(dy)
        return {name: g if g.itemsize >= 4 else g.float() for name, g in gradients.items()}

    with torch.enable_grad():
        return _mapped(one, [dY.detach().unsqueeze(1), *split], _chunk(module))


def _mapped(one: Any, inputs: list[Tensor], chunk: int) -> dict[str, Tensor]:
    """`one` over the rows of the inputs, at once if it can be."""
    if len(inputs[0]) > 1:
        try:
            found: dict[str, Tensor] = torch.func.vmap(one, chunk_size=chunk)(*inputs)
            return found
        except (RuntimeError, ValueError, NotImplementedError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            # vmap knows no .item(), no branch on data and not every operation; a loop does.
    rows = [one(*(tensor[i] for tensor in inputs)) for i in range(len(inputs[0]))]
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _chunk(module: nn.Module) -> int:
    largest = max((p.numel() for p in module.parameters()), default=1)
    return max(1, CHUNK_BYTES // (4 * largest))


def _flatten(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[list[Any], TreeSpec]:
    return tree_flatten((args, dict(kwargs)))
