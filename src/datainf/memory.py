"""How much memory there is and is in use, and how much a forward pass keeps for its backward."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from torch import Tensor, nn

from datainf.launch import launch
from datainf.ranks import gpu_name, ranks

CONTROL_GROUPS = Path("/sys/fs/cgroup")
"""Where Linux says what a container, a systemd unit or a batch job may use."""
OWN_GROUPS = Path("/proc/self/cgroup")
"""In which groups below it this process is, a line for each hierarchy."""
PRIMITIVES = 16
"""Of oneDNN, for the shapes of a batch or two: a layer has them ready from the one before."""


class Version(NamedTuple):
    """Names of a control group's files, and of the entries in its memory.stat that are counted as
    used and given back when they are needed."""

    limit: str
    used: str
    file_cache: tuple[str, str]


V1 = Version(
    "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file")
)
V2 = Version("memory.max", "memory.current", ("active_file", "inactive_file"))


def available(device: torch.device) -> int:
    """Bytes that can still be taken on a device: for the CPU, of the machine or within the
    limits on the process."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch keeps to hand out again counts as taken there.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    left = [_left_in(folder, version) for folder, version in _groups()]
    free = int(psutil.virtual_memory().available)
    return max(0, min([free, *(room for room in left if room is not None)]))


def sharing(device: torch.device) -> int:
    """How many of the processes of a run, this one among them, take memory on a device."""
    if device.type != "cuda":
        return launch().local_count
    them = ranks()
    return max(1, them.gpus.count(gpu_name(device))) if them.count > 1 else 1


def available_each(device: torch.device) -> int:
    """What is `available` to each of the processes on a device, if all take as much at one time."""
    return available(device) // sharing(device)


def for_each(device: torch.device) -> str:
    """Said after `available_each`, where there are several."""
    count = sharing(device)
    return f" for each of {count} processes" if count > 1 else ""


def _groups() -> Iterator[tuple[Path, Version]]:
    """The folders of this process's group and of all above it, each of which may have a limit. In a
    container only the last, the root, may be there."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:  # not on Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            root, version = CONTROL_GROUPS / "memory", V1
        elif not controllers:
            root, version = CONTROL_GROUPS, V2
        else:
            continue
        # Above a container's root is "..", which it cannot look into.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            yield root.joinpath(*parts[:depth]), version


def _left_in(folder: Path, version: Version) -> int | None:
    """Bytes that a control group may still take; None where there is none, or it has no limit."""
    try:
        limit = int((folder / version.limit).read_text())
        used = int((folder / version.used).read_text())
    except (OSError, ValueError):  # where version 2 has no limit, it says "max"
        return None
    return limit - used + _cached_files(folder, version)


def _cached_files(folder: Path, version: Version) -> int:
    """Bytes that a group counts as used and gives back when they are needed."""
    try:
        told = (folder / "memory.stat").read_text().split()
    except OSError:
        return 0
    known = dict(zip(told[::2], told[1::2], strict=False))
    return sum(int(known.get(name, 0)) for name in version.file_cache)


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


def keep_few_primitives(model: nn.Module, device: torch.device) -> None:
    """Have oneDNN, which computes some of torch's operations on a CPU, keep the kernels of few
    shapes. It keeps 1,024, each in many small pieces between what comes and goes; where lengths
    vary, every batch brings new ones, and the heap falls to pieces: a process took ever more.

    A variable of the environment, which oneDNN reads at its first operation: a process that had
    one before goes on as it did. One that is set stays; and models with convolutions, which have
    many kernels and images of one size, are left alone.
    """
    convolutions = nn.Conv1d | nn.Conv2d | nn.Conv3d
    if device.type == "cpu" and not any(isinstance(m, convolutions) for m in model.modules()):
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PRIMITIVES))


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
