"""The reference of preference training: the model as it was before, out of the model itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

REFERENCE = "ref"
"""The adapter under which TRL keeps a copy of one that is trained further."""
REPLACED = ("forward", "prepare_inputs_for_generation")


def has_reference(model: nn.Module) -> bool:
    """Whether the model has an adapter, without which it is its own reference."""
    return hasattr(model, "peft_config") and hasattr(model, "disable_adapter")


def is_merged(model: nn.Module) -> bool:
    """Whether an adapter's weights were added to the base's; peft would take them out again,
    for good, on being asked for the base alone."""
    return any(getattr(module, "merged", False) is True for module in model.modules())


@contextmanager
def as_reference(model: Any) -> Iterator[None]:
    """A peft model with its adapter "ref" in place of the active one, if it has one, and
    otherwise with no adapter; what replaced modules (`modules_to_save`) is put aside as well."""
    with adapters_kept(model):
        if REFERENCE not in model.peft_config:
            with model.disable_adapter():
                yield
            return
        active = list(model.active_adapters)  # several may be stacked
        model.set_adapter(REFERENCE)
        try:
            yield
        finally:
            model.set_adapter(active[0])
            if len(active) > 1:
                model.base_model.set_adapter(active)


@contextmanager
def adapters_kept(model: nn.Module) -> Iterator[None]:
    """Put back what peft sets when it changes adapters: each parameter's `requires_grad`, and the
    methods of a model with a soft prompt, which it replaces for the time being and then fixes."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    methods = {name: vars(model)[name] for name in REPLACED if name in vars(model)}
    try:
        yield
    finally:
        for parameter, required in before:
            if parameter.requires_grad != required:
                parameter.requires_grad_(required)
        for name in REPLACED:
            vars(model).pop(name, None)
        vars(model).update(methods)
