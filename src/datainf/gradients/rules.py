"""From a module's input and its output's gradient to per-example parameter gradients.

For one module and B rows a rule gets X, the module's input [B, …], and dY = ∂(Σ_i loss_i)/∂Y, its
output's gradient [B, …]. Because loss_i depends on row i alone, row i of dY is ∂loss_i/∂Y_i, and
the rule sums over the positions in between.

A new kind of module is one function:

    @rule(nn.Linear)
    def linear(module, X, dY, wanted): ...

A module without a rule is run again, an example at a time, by `datainf.gradients.replay`: a rule
is never needed for a right result, only for a fast one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datainf.projection import TwoSided

Rule = Callable[[nn.Module, Tensor, Tensor, frozenset[str]], Mapping[str, Tensor]]
"""(module, X, dY, names of its parameters wanted) → name → [B, *parameter's shape], float32 or
better."""

_RULES: dict[type | str, Rule] = {}
_OF_CONTAINERS: dict[type | str, Rule] = {}


def rule(*kinds: type[nn.Module] | str, containers: bool = False) -> Callable[[Rule], Rule]:
    """Register the rule of a kind of module, or of several; by full name ("peft.tuners.…") where
    importing the kind takes long. With `containers`, of a kind that keeps its parameters in
    containers; its rule knows them by their dotted names."""

    def register(function: Rule) -> Rule:
        (_OF_CONTAINERS if containers else _RULES).update(dict.fromkeys(kinds, function))
        return function

    return register


def rule_of(module: nn.Module, parameters: Iterable[str] = ()) -> Rule | None:
    """The rule for a module and parameters below it, None if there is none.

    A subclass has its parent's rule only while it has its parent's forward too.
    """
    rules = _OF_CONTAINERS if any("." in name for name in parameters) else _RULES
    for kind in type(module).__mro__:
        function = rules.get(kind) or rules.get(f"{kind.__module__}.{kind.__qualname__}")
        if function is not None and type(module).forward is getattr(kind, "forward", None):
            return function
    return None


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


def projected_linear(
    X: Tensor, dY: Tensor, wanted: frozenset[str], sides: TwoSided
) -> Mapping[str, Tensor]:
    """`linear` with P_o dW_i P_iᵀ = Σ_t (P_o dY_it) ⊗ (P_i X_it) in the place of dW_i."""
    X, dY = _positions(X), _positions(dY)
    left, right = sides.sides(X)
    gradients = {"weight": (dY @ left.T).transpose(1, 2) @ (X @ right.T)}
    if "bias" in wanted:
        gradients["bias"] = dY.sum(dim=1)
    return gradients


@rule("transformers.pytorch_utils.Conv1D")
def conv1d_of_gpt2(
    module: nn.Module, X: Tensor, dY: Tensor, wanted: frozenset[str]
) -> Mapping[str, Tensor]:
    """transformers' Conv1D: a linear layer with its weight transposed, [in, out]."""
    gradients = dict(linear(module, X, dY, wanted))
    if "weight" in gradients:
        gradients["weight"] = gradients["weight"].transpose(1, 2)
    return gradients


@rule(nn.Conv1d, nn.Conv2d)
def convolution(
    module: nn.Module, X: Tensor, dY: Tensor, wanted: frozenset[str]
) -> Mapping[str, Tensor]:
    """W [out, in/groups, *kernel]: a linear layer on the patches of X, group by group."""
    assert isinstance(module, nn.Conv1d | nn.Conv2d)
    X, dY = _float(X), _float(dY)
    B, groups, gradients = X.shape[0], module.groups, {}
    if "weight" in wanted:
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        X = F.pad(X, module._reversed_padding_repeated_twice, mode=mode)
        patches = _patches(module, X)
        width, L = patches.shape[1] // groups, patches.shape[2]
        patches = patches.reshape(B, groups, width, L)  # width = in/groups · kernel
        flat = dY.reshape(B, groups, module.out_channels // groups, L)
        # A stride may leave a rest at the edge of X; both have one column an output position.
        gradients["weight"] = (flat @ patches.transpose(2, 3)).reshape(B, *module.weight.shape)
    if "bias" in wanted:
        gradients["bias"] = dY.flatten(2).sum(dim=2)
    return gradients


def _patches(module: nn.Conv1d | nn.Conv2d, X: Tensor) -> Tensor:
    """[B, in·kernel, positions], padding done before."""
    if isinstance(module, nn.Conv2d):
        return F.unfold(X, module.kernel_size, module.dilation, stride=module.stride)
    (kernel,), (dilation,), (stride,) = module.kernel_size, module.dilation, module.stride
    return F.unfold(X.unsqueeze(2), (1, kernel), (1, dilation), stride=(1, stride))


@rule(nn.Embedding)
def embedding(
    module: nn.Module, X: Tensor, dY: Tensor, wanted: frozenset[str]
) -> Mapping[str, Tensor]:
    """Y_t = W[X_t]: each row of dW sums dY over the positions that looked it up."""
    assert isinstance(module, nn.Embedding)
    if "weight" not in wanted:
        return {}
    if module.scale_grad_by_freq:
        raise NotImplementedError("scale_grad_by_freq counts over the whole batch")
    B, (rows, width) = X.shape[0], module.weight.shape
    flat = _float(dY).reshape(B, -1, width)
    index = X.reshape(B, -1)
    if module.padding_idx is not None:  # as in torch, that row has no gradient
        flat = flat.masked_fill((index == module.padding_idx).unsqueeze(2), 0)
    out = flat.new_zeros(B, rows, width)
    out.scatter_add_(1, index.unsqueeze(2).expand_as(flat), flat)
    return {"weight": out}


@rule(nn.LayerNorm, nn.RMSNorm)
def layer_norm(
    module: nn.Module, X: Tensor, dY: Tensor, wanted: frozenset[str]
) -> Mapping[str, Tensor]:
    """Y = w ∘ x̂ + b, x̂ the normalised input: dw_i = Σ_t dY_it ∘ x̂_it."""
    assert isinstance(module, nn.LayerNorm | nn.RMSNorm)
    X, dY = _float(X), _float(dY)
    shape = list(module.normalized_shape)
    if isinstance(module, nn.LayerNorm):
        normal = F.layer_norm(X, shape, eps=module.eps)
    else:
        normal = F.rms_norm(X, shape, eps=module.eps)
    gradients = {"weight": dY * normal, "bias": dY}
    positions = tuple(range(1, X.dim() - len(shape)))
    return {
        name: gradient.sum(dim=positions) if positions else gradient
        for name, gradient in gradients.items()
        if name in wanted
    }


@rule(nn.GroupNorm)
def group_norm(
    module: nn.Module, X: Tensor, dY: Tensor, wanted: frozenset[str]
) -> Mapping[str, Tensor]:
    """As `layer_norm`, its weight along the channels, [B, channels, …]."""
    assert isinstance(module, nn.GroupNorm)
    X, dY = _float(X), _float(dY)
    gradients = {"weight": dY * F.group_norm(X, module.num_groups, eps=module.eps), "bias": dY}
    positions = tuple(range(2, X.dim()))
    return {
        name: gradient.sum(dim=positions) if positions else gradient
        for name, gradient in gradients.items()
        if name in wanted
    }


def _float(X: Tensor) -> Tensor:
    return X if X.itemsize >= 4 else X.to(torch.float32)


def _positions(X: Tensor) -> Tensor:
    """[B, …, width] → [B, positions, width], float32 or better."""
    X = _float(X)
    return (
        X.reshape(X.shape[0], -1, X.shape[-1])
        if X.numel()
        else X.reshape(X.shape[0], 0, X.shape[-1])
    )
