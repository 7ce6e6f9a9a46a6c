"""A diffusers pipeline's networks by name: which of them a model holds, what they are made of."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from datainf.fingerprint import digest, tensors_digest

DENOISERS = ("unet", "transformer")
TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")

NOT_COMPUTED = {"architectures", "dtype", "torch_dtype", "transformers_version"}
"""Entries of a configuration that are about files and versions."""


def networks(pipeline: Any) -> dict[str, Any]:
    """All networks that take part in a training loss, by their names in the pipeline."""
    return _present(pipeline, (*DENOISERS, "vae", *TEXT_ENCODERS))


def tokenizers(pipeline: Any) -> dict[str, Any]:
    """The pipeline's tokenizers by their names in it."""
    return _present(pipeline, TOKENIZERS)


def held_by(model: nn.Module, pipeline: Any) -> dict[str, nn.Module]:
    """Name of a network of the pipeline → the module that holds it, perhaps an adapter around it:
    the model, or an entry of it where it is an `nn.ModuleDict`."""
    holders = list(model.values()) if isinstance(model, nn.ModuleDict) else [model]
    return {
        name: holder
        for name, network in networks(pipeline).items()
        for holder in holders
        if any(module is network for module in holder.modules())
    }


def network_digest(network: Any) -> str:
    """Of a network's weights and configuration."""
    state = network.state_dict().items()
    tensors = tensors_digest((name, t) for name, t in state if isinstance(t, Tensor))
    return digest([tensors, config_digest(network.config)])


def config_digest(config: Any) -> str:
    """Of a configuration of diffusers or transformers."""
    values = config.to_diff_dict() if hasattr(config, "to_diff_dict") else dict(config)
    kept = {k: v for k, v in values.items() if not k.startswith("_") and k not in NOT_COMPUTED}
    return digest({name: str(value) for name, value in kept.items()})


@contextmanager
def without_dropout(frozen: Iterable[nn.Module]) -> Iterator[None]:
    """Dropout off for the time being; each module's own mode is put back afterwards."""
    training = [module for network in frozen for module in network.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' warnings, where what they warn of is counted or checked here."""
    import diffusers.utils.logging as of_diffusers
    import transformers.utils.logging as of_transformers

    before = [(log, log.get_verbosity()) for log in (of_diffusers, of_transformers)]
    for log, level in before:
        log.set_verbosity(max(level, logging.ERROR))
    try:
        yield
    finally:
        for log, level in before:
            log.set_verbosity(level)


def _present(pipeline: Any, names: Iterable[str]) -> dict[str, Any]:
    found = {name: getattr(pipeline, name, None) for name in names}
    return {name: part for name, part in found.items() if part is not None}
