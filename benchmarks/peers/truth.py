"""What a tool's scores have to be, from gradients taken one sequence at a time by autograd.

Formulas as in Kwon et al., DataInf (ICLR 2024), with one given damping for all blocks, a block
being a matrix of the LoRA. A positive score means that the row lowers the query's loss.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from work import Row, adapter_of, losses, padded

Gradients = dict[str, Tensor]
"""Of each block, [rows, parameters], float64."""
DAMPING = 1e-3


def gradients(model: nn.Module, rows: list[Row]) -> Gradients:
    adapter = adapter_of(model)
    each = [
        torch.autograd.grad(losses(model, padded([row])).sum(), list(adapter.values()))
        for row in rows
    ]
    return {
        name: torch.stack([of_row[i].flatten() for of_row in each]).double()
        for i, name in enumerate(adapter)
    }


def dot(train: Gradients, query: Gradients) -> Tensor:
    """Inner products of whole gradients, [queries, rows]."""
    return sum(query[block] @ train[block].T for block in train)


def datainf(train: Gradients, query: Gradients) -> Tensor:
    """The queries' gradients through the mean of (g gᵀ + λ)⁻¹ over the rows, block by block, times
    the rows' gradients, [queries, rows]."""
    return sum(_datainf_of(train[block], query[block]) for block in train)


def datainf_in_one(train: Gradients, query: Gradients) -> Tensor:
    """`datainf` with all parameters in one block."""
    return _datainf_of(*(torch.cat(list(of.values()), dim=1) for of in (train, query)))


def _datainf_of(train: Tensor, query: Tensor) -> Tensor:
    shares = query @ train.T / (DAMPING + train.square().sum(dim=1)) / len(train)
    return (query - shares @ train) @ train.T / DAMPING


def difference(found: Tensor, right: Tensor) -> float:
    """Of all scores together, relative to the norm of the right ones."""
    return float((found.detach().double() - right).norm() / right.norm())


def difference_in_direction(found: Tensor, right: Tensor) -> float:
    """`difference` after the one factor for all scores that makes it least."""
    found = found.detach().double()
    return difference(found * (found * right).sum() / found.square().sum(), right)
