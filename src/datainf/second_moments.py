"""The metric in which a model was trained: Adam's second moments, beside a gradient store.

Adam divides each parameter's step by √v̂, v̂ the running mean of its squared gradients. Gradients
that are multiplied by v̂^-¼, training and query alike, have inner products g·g'/√v̂: what a step of
Adam on one example does to another's loss, to first order. A store keeps v̂ in a file of its own,
a tensor [d_l] a block.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save
from torch import Tensor

from datainf.errors import OptionError, StoreCorruptError
from datainf.files import has_file, on_this_machine, write_atomically
from datainf.fingerprint import digest

FILE = "second_moments.safetensors"
FORMAT = "datainf-second-moments-1"
EPSILON = 1e-8
"""Adam's own, added to √v̂: a parameter that never had a gradient would be divided by zero."""


def save_moments(folder: Path, moments: Mapping[str, Tensor]) -> None:
    """Write v̂ by block, float32, beside a store's shards."""
    flat = _flat(moments)
    for name, v in flat.items():
        if not bool((v.isfinite() & (v >= 0)).all()):
            raise OptionError(f"the second moments of {name} are not all finite and at least 0")
    write_atomically(folder / FILE, save(flat, metadata={FORMAT: _checksum(flat)}))


def _flat(moments: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As a file has them."""
    return {n: v.detach().float().reshape(-1).cpu().contiguous() for n, v in moments.items()}


def moments_digest(moments: Mapping[str, Tensor]) -> str:
    """Of v̂ as a file would have it: rows that are projected in its metric are of no other."""
    return _checksum(_flat(moments))


def load_moments(folder: Path) -> dict[str, Tensor] | None:
    """v̂ [d_l] by block; None if the store was collected without.

    Raises `StoreCorruptError` if the bytes are not the ones that were written.
    """
    path = folder / FILE
    if not has_file(path):
        return None
    try:
        with on_this_machine(path) as local:
            file: Any = safetensors.safe_open(local, framework="pt")
        moments = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        sound = (file.metadata() or {}).get(FORMAT) == _checksum(moments)
    except (safetensors.SafetensorError, ValueError) as error:
        raise StoreCorruptError(f"{path} is not a whole file ({error})") from None
    if not sound:
        raise StoreCorruptError(
            f"{path}: the bytes are not the ones that were written (its checksum differs)",
            remedy="collect the store again",
        )
    return moments


def metric_scale(moments: Tensor) -> Tensor:
    """(√v̂ + ε)^-½ for v̂ [d], float64: what gradients are multiplied by."""
    return (moments.double().sqrt() + EPSILON).rsqrt()


def _checksum(moments: Mapping[str, Tensor]) -> str:
    return digest([[name, moments[name]] for name in sorted(moments)])
