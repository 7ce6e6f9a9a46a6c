"""A device by its name, checked that it is there."""

from __future__ import annotations

import torch

from datainf.errors import OptionError


def usable(name: str | torch.device) -> torch.device:
    """A device that tensors can be made on.

    Raises `OptionError` for one that is not there, or that this torch was built without.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise OptionError(
            f"the device {str(name)!r} cannot be used: {first}", remedy="cpu"
        ) from None
    return device
