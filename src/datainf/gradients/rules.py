"""From a module's input and its output's gradient to per-example parameter gradients.

For one module and a batch of B examples a rule gets X, the module's input [B, …, in], and
dY = ∂(Σ_i loss_i)/∂Y, its output's gradient [B, …, out]. Because loss_i depends on row i alone,
row i of dY is ∂loss_i/∂Y_i, and the rule sums over the positions in between.

A new kind of module is one function:

    @rule(nn.Linear)
    def linear(module, X, dY, wanted): ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

Rule = Callable[[nn.Module, Tensor, Tensor, frozenset[str]], Mapping[str, Tensor]]
"""(module, X, dY, names of its parameters wanted) → name → [B, *parameter's shape], float32 or
better."""

_RULES: dict[type[nn.Module], Rule] = {}


def rule(kind: type[nn.Module]) -> Callable[[Rule], Rule]:
    """Register the rule of a kind of module."""

    def register(function: Rule) -> Rule:
        _RULES[kind] = function
        return function

    return register


def rule_of(module: nn.Module) -> Rule | None:
    """The rule for a module, None if there is none.

    A subclass has its parent's rule only while it has its parent's forward too.
    """
    for kind, function in _RULES.items():
        if isinstance(module, kind) and type(module).forward is kind.forward:
            return function
    return None


def kinds() -> list[str]:
    """The names of the kinds of module that have a rule."""
    return [kind.__name__ for kind in _RULES]


@rule(nn.Linear)
def linear(
    module: nn.Module,  # noqa: ARG001 - one signature for all rules
    X: Tensor,
    dY: Tensor,
    wanted: frozenset[str],
) -> Mapping[str, Tensor]:
    """Y = X Wᵀ + b, W [out, in]: dW_i = Σ_t dY_it ⊗ X_it, db_i = Σ_t dY_it."""
    X, dY = _positions(X), _positions(dY)
    gradients = {}
    if "weight" in wanted:
        gradients["weight"] = dY.transpose(1, 2) @ X
    if "bias" in wanted:
        gradients["bias"] = dY.sum(dim=1)
    return gradients


@rule(Conv1D)
def conv1d_of_gpt2(
    module: nn.Module, X: Tensor, dY: Tensor, wanted: frozenset[str]
) -> Mapping[str, Tensor]:
    """transformers' Conv1D: a linear layer with its weight transposed, [in, out]."""
    gradients = dict(linear(module, X, dY, wanted))
    if "weight" in gradients:
        gradients["weight"] = gradients["weight"].transpose(1, 2)
    return gradients


def _positions(X: Tensor) -> Tensor:
    """[B, …, width] → [B, positions, width], float32 or better."""
    X = X if X.itemsize >= 4 else X.float()
    return (
        X.reshape(X.shape[0], -1, X.shape[-1])
        if X.numel()
        else X.reshape(X.shape[0], 0, X.shape[-1])
    )
