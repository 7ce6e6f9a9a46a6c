"""The model as it computes without chance: dropout off, memory still saved where it was."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from datainf.gradients.prompts import is_prompted, prompt_for_each, replaced


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off, for the time being; each module's own mode is put back afterwards.

    transformers recomputes activations (gradient checkpointing) in training mode only; where the
    model has that switched on, it stays on. A cache of keys and values is of no use here and
    would be filled twice by a module that is run again, so it is switched off. Prompt-learning
    adapters give each example its own copy of the prompts, see `datainf.gradients.prompts`.
    """
    training = [module for module in model.modules() if module.training]
    try:
        model.eval()
        for module in model.modules():
            # Out of training mode, bitsandbytes repacks its 4-bit weights in place on some CPUs,
            # to other values. It has no dropout.
            module.training = _is_repacked(module)
        with ExitStack() as stack:
            for config in _caching(model):
                stack.enter_context(replaced(config, "use_cache", False))
            for module in model.modules():
                if is_prompted(module):
                    stack.enter_context(prompt_for_each(module))
                if _is_checkpointed(module):
                    stack.enter_context(_recomputing(module))
            yield
    finally:
        model.eval()
        for module in training:
            module.training = True


def _is_repacked(module: nn.Module) -> bool:
    library = sys.modules.get("bitsandbytes")
    return library is not None and isinstance(module, library.nn.Linear4bit)


def _caching(model: nn.Module) -> list[Any]:
    found: dict[int, Any] = {}
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if getattr(config, "use_cache", None) is True:
            found[id(config)] = config
    return list(found.values())


def _is_checkpointed(module: nn.Module) -> bool:
    from transformers.modeling_layers import GradientCheckpointingLayer

    return isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing


def _recomputing(module: nn.Module) -> AbstractContextManager[None]:
    forward = module.forward

    def recomputed(*args: Any, **kwargs: Any) -> Any:
        cache = kwargs.get("past_key_values")
        if not torch.is_grad_enabled() or _holds_a_prefix(cache):
            return forward(*args, **kwargs)
        if cache is not None:  # it would be filled twice
            kwargs["past_key_values"] = None
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return replaced(module, "forward", recomputed)


def _holds_a_prefix(cache: Any) -> bool:
    """Whether a cache of keys and values came filled, as by prefix tuning."""
    return cache is not None and cache.get_seq_length() > 0
