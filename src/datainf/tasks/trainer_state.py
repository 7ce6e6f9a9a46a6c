"""A trainer lends its collator and its loss, and gets back the state it had."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from datainf.tasks.reference import adapters_kept

COLLECTED = ("_metrics", "_logs")
"""What TRL's trainers add to with every loss that they compute."""
_HANDLES = ("_require_grads_hook", "_require_grads_hooks")
_AUTOCAST = "_original_forward"
"""Where accelerate keeps a model's forward as it was before the autocast."""


@contextmanager
def untouched(trainer: Any, model: nn.Module) -> Iterator[None]:
    """Put back a trainer's attributes and collected metrics, its model's `requires_grad`, hooks
    and problem type (which transformers infers from the first labels), and the random generators.
    """
    attributes = dict(vars(trainer))
    for name in COLLECTED:
        if name in attributes:
            setattr(trainer, name, copy.deepcopy(attributes[name]))
    configs = [m.config for m in model.modules() if hasattr(m, "config")]
    problems = [(c, c.problem_type) for c in configs if hasattr(c, "problem_type")]
    try:
        with adapters_kept(model), _hooks_kept(model), _random_kept(model):
            yield
    finally:
        vars(trainer).clear()
        vars(trainer).update(attributes)
        for config, problem in problems:
            config.problem_type = problem


@contextmanager
def _hooks_kept(model: nn.Module) -> Iterator[None]:
    """Put the forward hooks back: where gradient checkpointing is on, TRL switches it off and on
    around a reference, and transformers hooks the embeddings once more every time."""
    before = [
        (
            module,
            dict(module._forward_hooks),
            {name: vars(module)[name] for name in _HANDLES if name in vars(module)},
        )
        for module in model.modules()
    ]
    try:
        yield
    finally:
        for module, hooks, handles in before:
            for key in module._forward_hooks.keys() - hooks.keys():
                # Others, such as those by which transformers captures outputs, are there to stay.
                if "require_grads" in getattr(module._forward_hooks[key], "__qualname__", ""):
                    del module._forward_hooks[key]
            for key in hooks.keys() - module._forward_hooks.keys():
                module._forward_hooks[key] = hooks[key]
            for name in _HANDLES:
                vars(module).pop(name, None)
            vars(module).update(handles)


@contextmanager
def weights_precision(*models: nn.Module | None) -> Iterator[None]:
    """Without the autocast that accelerate puts around the forward of a model that it prepared:
    its rounding is as large as the gradients of some examples, and differs from batch to batch."""
    wrapped = [model for model in models if model is not None and _AUTOCAST in vars(model)]
    forwards = [model.forward for model in wrapped]
    for model in wrapped:
        model.forward = vars(model)[_AUTOCAST]
    try:
        yield
    finally:
        for model, forward in zip(wrapped, forwards, strict=True):
            model.forward = forward


@contextmanager
def _random_kept(model: nn.Module) -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    devices = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    try:
        with torch.random.fork_rng(sorted(devices)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
