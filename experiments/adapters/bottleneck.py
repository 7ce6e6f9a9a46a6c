"""Bottleneck adapters (Houlsby et al., 2019), which peft does not have: small plain modules.

Behind a layer of width w, a bottleneck of width b adds up(gelu(down(h))) to the layer's output h,
down of shape [b, w], up of shape [w, b]. They stand where the paper puts them: behind the output
projections of attention and of the feed-forward network, before the residual connection.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn


class Bottleneck(nn.Module):
    """A linear layer with a bottleneck behind it, which begins as the identity."""

    def __init__(self, layer: nn.Linear, width: int) -> None:
        super().__init__()
        self.layer = layer
        like: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        self.down = nn.Linear(layer.out_features, width, **like)
        self.up = nn.Linear(width, layer.out_features, **like)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.layer(x)
        added: torch.Tensor = h + self.up(nn.functional.gelu(self.down(h)))
        return added


def add_bottlenecks(model: nn.Module, *, behind: str, width: int, head: str) -> nn.Module:
    """Freeze a model but for its head, and put a bottleneck behind each layer of a name.

    Args:
        behind: The end of the layers' names: `output.dense`.
        head: The part of the model that is trained as well: `classifier`.
    """
    model.requires_grad_(False)
    model.get_submodule(head).requires_grad_(True)
    layers = [name for name, _ in model.named_modules() if name.endswith(f".{behind}")]
    if not layers:
        raise ValueError(f"the model has no layer whose name ends in {behind}")
    for name in layers:
        parent, _, own = name.rpartition(".")
        layer = cast(nn.Linear, model.get_submodule(name))  # an output projection
        setattr(model.get_submodule(parent), own, Bottleneck(layer, width))
    return model
