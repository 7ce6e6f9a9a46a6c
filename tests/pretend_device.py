"""A device that is not there: tensors that say they are on it and lie in the CPU's memory.

It does what a GPU does to a program that forgets where its tensors are: an operation on tensors of
two places is an error, unless one is a single number. And it counts how often a program waits for
the device, since each wait lets a GPU run out of work, and what it sends there. torch's `lazy` has
no other use here, and autograd takes it as it takes the CPU.
"""

from __future__ import annotations

import inspect
from collections import Counter
from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

DEVICE = torch.device("lazy")


ASKS = "autocast" in inspect.getsource(LlamaRotaryEmbedding.forward)
"""Whether transformers asks torch if the device has autocast, which raises for one that is none."""
CAN_RUN_MODELS = pytest.mark.xfail(
    ASKS, raises=RuntimeError, reason="transformers asks for autocast"
)
COPIES = {"_to_copy", "copy_", "_copy_from"}
"""What may have tensors of two places."""
INDEXING = {"index", "index_put", "index_put_", "_unsafe_index"}
"""What may have indices from the CPU."""
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "_unique2"}
"""What ends in numbers or shapes that the program needs before it goes on."""


class Away(Tensor):
    """A tensor that says it is on the device."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Self:
        made = Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), storage_offset=here.storage_offset(),
            dtype=here.dtype, device=DEVICE, requires_grad=here.requires_grad,
        )  # fmt: skip
        made.here = here.detach()
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Away({self.here!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any) -> Any:
        raise RuntimeError(f"{func}: the device is not pretended here")


class PretendDevice(TorchDispatchMode):
    """While it is entered there is the device. `waits`: how often each operation waited for it;
    `sent`: how many tensors of each dtype went there."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.sent: Counter[torch.dtype] = Counter()

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.overloadpacket.__name__, dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        away = any(isinstance(tensor, Away) for tensor in tensors)
        target = kwargs.get("device")
        result_away = away if target is None else target == DEVICE
        if away:
            self._require_one_place(name, args, tensors)
        if result_away and kwargs.get("generator") is not None:
            raise RuntimeError(f"{name}: a generator of the CPU for a tensor elsewhere")
        if target == DEVICE:
            kwargs["device"] = torch.device("cpu")
        found = func(*_here(args), **_here(kwargs))
        if away:
            self._count(name, args, result_away)
        elif result_away and name == "_to_copy":
            self.sent[found.dtype] += 1
        if not result_away:
            return found
        made = tree_map_only(Tensor, Away, found)
        return return_and_correct_aliasing(func, args, kwargs, made) if away else made

    def _require_one_place(self, name: str, args: Any, tensors: list[Tensor]) -> None:
        some = [args[0]] if name in INDEXING else tensors
        plain = [t for t in some if not isinstance(t, Away) and t.dim() > 0]
        if plain and name not in COPIES:
            raise RuntimeError(
                f"{name}: tensors of two places; one of shape {tuple(plain[0].shape)} is on the CPU"
            )

    def _count(self, name: str, args: Any, stays: bool) -> None:
        masked = name in INDEXING and any(
            isinstance(leaf, Tensor) and leaf.dtype == torch.bool for leaf in tree_leaves(args[1])
        )
        to_host = name == "copy_" and isinstance(args[1], Away) and not isinstance(args[0], Away)
        if name in WAITS or masked or to_host or not stays:
            self.waits[name] += 1


def _here(value: Any) -> Any:
    return tree_map_only(Away, lambda tensor: tensor.here, value)


def moved(model: nn.Module) -> nn.Module:
    """The model with its parameters and buffers on the device, in place."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            there = nn.Parameter(parameter.detach().to(DEVICE), parameter.requires_grad)
            module._parameters[name] = there
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = buffer.to(DEVICE)
    return model
