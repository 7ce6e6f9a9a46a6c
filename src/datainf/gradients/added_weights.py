"""The rule of adapters that add a weight to their layer's: Y = X (W + ΔW(θ))ᵀ, or a convolution.

    dΔW_i = Σ_t dY_it ⊗ X_it,      dθ_i = (∂ΔW/∂θ)ᵀ dΔW_i,

the first by the layer's own rule, the second for all rows in one batched backward pass through
what peft computes ΔW by, whatever that is: LoHa's is a Hadamard product of two low-rank matrices
(Hyeon-Woo et al. 2022, arXiv 2108.06098). These adapters compute it by `autograd.Function`s of
the old form, or change it in place, which the vmap of a replay cannot follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from datainf.gradients.replay import CHUNK_BYTES
from datainf.gradients.rules import rule, rule_of


@rule(
    "peft.tuners.loha.layer.Linear",
    "peft.tuners.loha.layer.Conv1d",
    "peft.tuners.loha.layer.Conv2d",
    containers=True,
)
def added_weight(
    module: nn.Module, X: Tensor, dY: Tensor, wanted: frozenset[str]
) -> Mapping[str, Tensor]:
    """`wanted` are names such as "hada_w1_a.default", the adapter's last."""
    layer: Any = module
    base: nn.Module = layer.get_base_layer()
    of_layer = rule_of(base)
    if of_layer is None:
        raise NotImplementedError(f"it is around a {type(base).__name__}")
    rows = max(1, CHUNK_BYTES // (4 * sum(p.numel() for p in base.parameters(recurse=False))))
    found: dict[str, list[Tensor]] = {name: [] for name in wanted}
    for x, dy in zip(torch.split(X, rows), torch.split(dY, rows), strict=True):
        of_weight = of_layer(base, x, dy, frozenset({"weight"}))["weight"]
        for adapter in {name.rpartition(".")[2] for name in wanted}:
            names = [name for name in wanted if name.rpartition(".")[2] == adapter]
            for name, gradient in zip(names, _pull(layer, adapter, names, of_weight), strict=True):
                found[name].append(gradient)
    return {name: torch.cat(parts) for name, parts in found.items()}


class _Added(nn.Module):
    """ΔW as a module's forward, so that its parameters can be replaced."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, adapter: str) -> Tensor:
        layer: Any = self.layer
        added: Tensor = layer.get_delta_weight(adapter)
        return added


def _pull(layer: nn.Module, adapter: str, names: list[str], of_weight: Tensor) -> list[Tensor]:
    """From [B, *shape of the weight] to [B, *shape] of each parameter."""
    parameters = [layer.get_parameter(name).detach().requires_grad_() for name in names]
    replaced = {f"layer.{name}": p for name, p in zip(names, parameters, strict=True)}
    with torch.enable_grad():
        added = torch.func.functional_call(_Added(layer), replaced, (adapter,), tie_weights=False)
    gradients = torch.autograd.grad(
        added, parameters, of_weight.reshape(-1, *added.shape).to(added.dtype),
        is_grads_batched=True,
    )  # fmt: skip
    return [g if g.itemsize >= 4 else g.float() for g in gradients]
