"""A diffusers pipeline with its LoRA, from folders or the hub, checked that the two fit together.

An adapter is a folder or hub id with `pytorch_lora_weights.safetensors`, as diffusers' scripts and
`save_lora_weights` write it (denoiser, text encoders, or both), or a folder that
`save_pretrained` of a peft model of the denoiser wrote. diffusers warns and goes on where tensors
of an adapter have no place; here that is an error. LoRA weights that were saved without their
alpha have, in diffusers and so here, an alpha equal to their rank.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from datainf.errors import ModelError, first_line
from datainf.fingerprint import digest
from datainf.models import (
    PEFT_CONFIG,
    PIPELINE_INDEX,
    PIPELINE_LORA,
    adapter_config,
    adapter_weights,
    device_of,
    dtype_of,
)
from datainf.pipeline_code import NOT_LOADED, parts_of, refuse_code
from datainf.repositories import NO_CODE, at, commit_in, unloadable
from datainf.tasks.pipeline_parts import DENOISERS, TEXT_ENCODERS, networks, quiet

ADAPTER = "default"


@dataclass(frozen=True)
class LoadedPipeline:
    """A pipeline, and the part of it that is attributed: the denoiser, a text encoder, or an
    `nn.ModuleDict` of those that the adapter is in. Only the adapter's parameters require
    gradients; without an adapter, all of the denoiser's do."""

    model: nn.Module
    pipeline: Any
    base: str


def pipeline_of(adapter: str | None) -> str:
    """The pipeline that an adapter names; only peft's own form names any.

    Raises `ModelError` for an adapter that names none.
    """
    named = None
    if adapter is not None and (Path(adapter) / PEFT_CONFIG).is_file():
        named = adapter_config(adapter).base_model_name_or_path
    if not named:
        raise ModelError(
            f"the adapter {adapter} does not name the pipeline that it is for",
            remedy="--model with the folder or hub id of the pipeline",
        )
    return str(named)


def load_pipeline(
    base: str, adapter: str | None = None, *, device: str | None = None, dtype: str | None = None
) -> LoadedPipeline:
    """Load a pipeline and its adapter.

    Args:
        base: Folder or hub id of a pipeline; its weights in safetensors.
        adapter: See above; None for a denoiser that was fine-tuned as a whole.
        device, dtype: By name; see `datainf.models.device_of`, `dtype_of`. A VAE that overflows in
            half precision is kept in float32.

    Raises:
        ModelError: either cannot be loaded, or the adapter does not fit the pipeline.
    """
    target = device_of(device)
    pipeline = _load_base(base, dtype_of(dtype, target))
    for network in networks(pipeline).values():
        network.eval().requires_grad_(False)
    if adapter is None:
        model: nn.Module = getattr(pipeline, _denoiser(pipeline, base)).requires_grad_(True)
    elif (Path(adapter) / PEFT_CONFIG).is_file():
        model = _attach_peft(pipeline, adapter, base)
    else:
        model = _attach_lora(pipeline, adapter, base)
    pipeline.to(target)
    return LoadedPipeline(model.to(target), pipeline, base)


def _load_base(base: str, dtype: torch.dtype | str) -> Any:
    try:
        import diffusers
    except ImportError:
        raise ModelError(
            "loading a text-to-image pipeline needs diffusers",
            remedy="pip install 'datainf[diffusion]'",
        ) from None
    loader: Any = diffusers.DiffusionPipeline
    try:
        index = _index_of(base)
        parts = parts_of(index, base)
        # It looks at generated images, which there are none of.
        unwanted = {part: None for part in NOT_LOADED if part in loader.load_config(index.parent)}
        options = {"use_safetensors": True, **unwanted}
        kept = {} if isinstance(dtype, str) else {dtype_name(diffusers): dtype}
        with _without_bars(diffusers.utils.logging):
            folder = index.parent
            if not Path(base).is_dir():  # the commit whose index was looked at
                name, commit = at(base)[0], commit_in(str(index))
                folder = Path(loader.download(name, revision=commit, **options, **NO_CODE))
            refuse_code(folder, parts, base)
            pipeline = loader.from_pretrained(folder, **options, **kept, **NO_CODE)
    except ModelError:
        raise
    except Exception as error:
        remedy = f"a folder or hub id with {PIPELINE_INDEX} and weights in safetensors"
        raise unloadable("a text-to-image pipeline", base, error, remedy) from None
    vae = getattr(pipeline, "vae", None)
    if vae is not None and vae.dtype == torch.float16 and vae.config.get("force_upcast"):
        vae.to(torch.float32)
    return pipeline


def dtype_name(diffusers: Any) -> str:
    """Of the option for it: before 0.40 the other name is taken for nothing, in silence."""
    version = tuple(map(int, diffusers.__version__.split(".")[:2]))
    return "dtype" if version >= (0, 40) else "torch_dtype"


def _index_of(base: str) -> Path:
    """A pipeline's model_index.json, in its folder or fetched."""
    from huggingface_hub import hf_hub_download

    if Path(base).is_dir():
        return Path(base) / PIPELINE_INDEX
    name, revision = at(base)
    return Path(hf_hub_download(name, PIPELINE_INDEX, revision=revision))


@contextmanager
def _without_bars(library: Any) -> Iterator[None]:
    """Progress is ours to show."""
    shown = library.is_progress_bar_enabled()
    library.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            library.enable_progress_bar()


def _denoiser(pipeline: Any, base: str) -> str:
    for name in DENOISERS:
        if name in networks(pipeline):
            return name
    raise ModelError(
        f"{base} has no denoiser: its parts are {', '.join(pipeline.components)}",
        remedy="a text-to-image pipeline of diffusers",
    )


def _attach_peft(pipeline: Any, adapter: str, base: str) -> nn.Module:
    """A peft adapter around the denoiser."""
    import peft

    weights = adapter_weights(adapter)
    denoiser = getattr(pipeline, _denoiser(pipeline, base))
    try:
        name, revision = at(adapter)
        model: nn.Module = peft.PeftModel.from_pretrained(
            denoiser, name, revision=revision, is_trainable=True
        )
    except Exception as error:
        raise _misfit(adapter, base, first_line(error)) from None
    _require_same(weights.values(), _learned(model).values(), adapter, base)
    return model.eval()


def _attach_lora(pipeline: Any, adapter: str, base: str) -> nn.Module:
    """LoRA weights in diffusers' own form, in whichever parts of the pipeline they are for."""
    _denoiser(pipeline, base)
    try:
        name, revision = at(adapter)
        asked = {"revision": revision, "use_safetensors": True}
        if (Path(name) / PIPELINE_LORA).is_file():
            asked["weight_name"] = PIPELINE_LORA  # diffusers 0.37 asks the hub else
        found = pipeline.lora_state_dict(name, **asked)
    except Exception as error:
        raise ModelError(
            f"cannot read LoRA weights from {adapter}: {first_line(error)}",
            remedy=f"a folder with {PIPELINE_LORA} or with a peft adapter of the denoiser in it",
        ) from None
    state = found[0] if isinstance(found, tuple) else found
    try:
        with quiet():  # it warns of every part of the pipeline that the adapter leaves alone
            pipeline.load_lora_weights(name, adapter_name=ADAPTER, **asked)
    except Exception as error:
        raise _misfit(adapter, base, first_line(error)) from None
    holders = {
        name: network
        for name, network in networks(pipeline).items()
        if name in (*DENOISERS, *TEXT_ENCODERS) and _adapters(network)
    }
    learned = {
        f"{name}.{parameter}": tensor
        for name, network in holders.items()
        for parameter, tensor in _adapters(network).items()
    }
    _require_same(
        [tensor for name, tensor in state.items() if not name.endswith("alpha")],
        learned.values(),
        adapter,
        base,
    )
    for tensor in learned.values():
        tensor.requires_grad_(True)
    model: nn.Module = nn.ModuleDict(holders)
    if len(holders) == 1:
        (model,) = holders.values()
    return model.eval()


def _adapters(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of the adapter in a network, by name."""
    return {name: p for name, p in network.named_parameters() if f".{ADAPTER}" in name}


def _learned(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _require_same(
    saved: Iterable[Tensor], loaded: Iterable[Tensor], adapter: str, base: str
) -> None:
    """Every saved tensor is somewhere in the model, and nothing else was made up.

    By their values: names change on the way, and between versions of both libraries."""
    found = list(loaded)
    if not found:
        raise _misfit(adapter, base, "none of its tensors has a place there")
    if absent := sum(tensor.is_meta for tensor in found):
        raise _misfit(adapter, base, f"{absent} tensors that the model needs are not in it")
    # Stored in one precision, used in another.
    precision = min((tensor.dtype for tensor in found), key=lambda dtype: dtype.itemsize)
    in_file = Counter(digest(tensor.to(precision)) for tensor in saved)
    in_model = Counter(digest(tensor.to(precision)) for tensor in found)
    if unplaced := in_file - in_model:
        what = f"{unplaced.total()} of its {in_file.total()} tensors have no place there"
        raise _misfit(adapter, base, what)
    if invented := in_model - in_file:
        what = f"{invented.total()} tensors that the model needs are not in it"
        raise _misfit(adapter, base, what)


def _misfit(adapter: str, base: str, what: str) -> ModelError:
    return ModelError(
        f"the adapter {adapter} does not fit the pipeline {base}: {what}",
        remedy="the pipeline that it was trained on",
    )
