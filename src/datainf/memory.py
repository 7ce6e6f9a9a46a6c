"""How much memory there is and is in use, and how much a forward pass keeps for its backward."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

CONTROL_GROUP = Path("/sys/fs/cgroup")
"""Where Linux says what a container may use."""


def available(device: torch.device) -> int:
    """Bytes that can still be taken on a device: of the machine or the container, for the CPU."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch keeps to hand out again counts as taken there.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((CONTROL_GROUP / "memory.max").read_text())
        used = int((CONTROL_GROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no control group, or none with a limit ("max")
        return free
    return max(0, min(free, limit - used + _cached_files()))


def _cached_files() -> int:
    """Bytes that a container counts as used and gives back when they are needed."""
    try:
        told = (CONTROL_GROUP / "memory.stat").read_text().split()
    except OSError:
        return 0
    known = dict(zip(told[::2], told[1::2], strict=False))
    return sum(int(known.get(name, 0)) for name in ("active_file", "inactive_file"))


def in_use(device: torch.device) -> int:
    """Bytes that this process has taken on a device."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return int(psutil.Process().memory_info().rss)


def release() -> None:
    """Give back to the system what was freed. glibc keeps it, and with tensors of many sizes ever
    more of it lies between those that are in use."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Kept:
    """Bytes that autograd has kept so far."""

    def __init__(self) -> None:
        self.bytes = 0


@contextmanager
def counting_kept(model: nn.Module) -> Iterator[Kept]:
    """Count what the forward passes within keep for a backward pass: every storage once, and no
    weights."""
    kept = Kept()
    seen = {_storage(tensor)[0] for tensor in (*model.parameters(), *model.buffers())}

    def pack(tensor: Tensor) -> Tensor:
        place, size = _storage(tensor)
        if place not in seen:
            seen.add(place)
            kept.bytes += size
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


def _storage(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor's numbers lie, and their bytes; nowhere and none of those that are not dense,
    such as packed weights."""
    try:
        storage = tensor.untyped_storage()
        return storage.data_ptr(), storage.nbytes()
    except (NotImplementedError, RuntimeError):
        return 0, 0
