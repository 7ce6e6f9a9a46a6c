"""A device by its name, checked that it is there."""

from __future__ import annotations

import torch

from datainf.errors import OptionError
from datainf.launch import launch


def usable(name: str | torch.device) -> torch.device:
    """A device that tensors can be made on; of several processes on a machine, each has a GPU of
    its own for `cuda`.

    Raises `OptionError` for one that is not there, or that this torch was built without; for one
    GPU by its number, where several processes would all take it.
    """
    try:
        device = own(torch.device(name))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise OptionError(
            f"the device {str(name)!r} cannot be used: {first}", remedy="cpu"
        ) from None
    return device


def own(device: torch.device) -> torch.device:
    """What a device is for this process among those on its machine: `cuda` is one GPU for each, in
    turn. Raises `OptionError` as `usable`."""
    started = launch()
    if device.type != "cuda" or started.local_count == 1:
        return device
    number: int | None = device.index  # torch's types know no device without
    if number is not None:
        raise OptionError(
            f"{device} is one GPU, and {started.local_count} processes were started on this "
            "machine, which would all take it",
            remedy="cuda, of which each process takes its own",
        )
    return torch.device("cuda", started.local_rank % max(1, torch.cuda.device_count()))
