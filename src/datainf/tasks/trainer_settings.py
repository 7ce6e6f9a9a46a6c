"""What tells one trainer's losses from another's, as plain JSON values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from datainf.fingerprint import digest, tensors_digest, tokenizer_digest
from datainf.tasks.custom import code_digest

SETTINGS = (
    "beta", "loss_type", "loss_types", "loss_weights", "label_smoothing", "label_smoothing_factor",
    "ld_alpha", "f_divergence_type", "f_alpha_divergence_coef", "use_weighting", "discopop_tau",
    "precompute_ref_logps", "center_rewards_coefficient", "aux_loss_enabled",
    "router_aux_loss_coef",
)  # fmt: skip
"""What losses of the libraries depend on, where a trainer or its arguments have it."""


def trainer_settings(trainer: Any) -> dict[str, Any]:
    """What an example's loss depends on besides model and data: the trainer's kind and options, its
    collator, its reference model and its tokenizer."""
    tokenizer, reference = tokenizer_of(trainer), getattr(trainer, "ref_model", None)
    return {
        "trainer": type(trainer).__qualname__,
        "options": {
            key: _plain(getattr(owner, key))
            for owner in (trainer.args, trainer)
            for key in SETTINGS
            if hasattr(owner, key)
        },
        "reference": None if reference is None else tensors_digest(reference.named_parameters()),
        "collator": _collator_settings(trainer.data_collator),
        "tokenizer": None if tokenizer is None else tokenizer_digest(tokenizer),
    }


def tokenizer_of(trainer: Any) -> Any:
    """The tokenizer of the collator, else of the trainer, else None."""
    for holder in (trainer.data_collator, trainer):
        for name in ("tokenizer", "processing_class"):
            found = getattr(holder, name, None)
            found = getattr(found, "tokenizer", found)
            if hasattr(found, "get_vocab") and hasattr(found, "decode"):
                return found
    return None


def loss_code(trainer: Any) -> dict[str, Any]:
    """The loss in code, and the values of the trainer's own attributes that this code names."""
    compute = vars(trainer).get("compute_loss", type(trainer).compute_loss)
    named = getattr(getattr(compute, "__code__", None), "co_names", ())
    own = [name for name in named if name in vars(trainer) and not name.startswith("_")]
    values = {name: _plain(vars(trainer)[name]) for name in own}
    function = trainer.compute_loss_func
    return {
        "compute_loss": code_digest(compute),
        "values": {name: value for name, value in values.items() if value is not None},
        "compute_loss_func": None if function is None else code_digest(function),
    }


def _collator_settings(collator: Any) -> dict[str, Any]:
    if inspect.isfunction(collator) or inspect.ismethod(collator):
        function: Callable[..., Any] = collator
        return {"code": code_digest(function)}
    names = [f.name for f in fields(collator)] if is_dataclass(collator) else vars(collator)
    values = {name: _plain(getattr(collator, name)) for name in names}
    return {"class": type(collator).__qualname__, **values}


def _plain(value: Any) -> Any:
    """A value as plain JSON, a tensor as its digest, None for any other object."""
    if isinstance(value, Tensor):
        return digest(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else None
