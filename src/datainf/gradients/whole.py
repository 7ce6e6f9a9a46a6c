"""Whether a model is whole in this process, as per-example gradients need it.

They are taken at each module's outputs from the examples of one process, with no other process
taking part. Training in several leaves models otherwise: sharded (FSDP, FSDP2, DeepSpeed ZeRO-3) or
cut across (tensor parallelism), each process holds a part of a weight and waits for all others in
each forward pass, while here each takes other examples. DDP's copies are whole, behind a wrapper
that has nothing to do here.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from datainf.errors import ModelError
from datainf.ranks import gpu_name, ranks

WRAPPERS = {
    "FullyShardedDataParallel": "FSDP has sharded it",
    "FSDPModule": "FSDP2 has sharded it (fully_shard)",
    "DeepSpeedEngine": "it is DeepSpeed's engine",
}
"""Classes among a module's own that say what was done to it; their modules take long to import,
and are imported where there is one."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The model within DDP's or DataParallel's wrapper, whose parameters are whole.

    Raises `ModelError` for one of which this process holds a part, naming what has taken it apart;
    and for one that is spread over GPUs that other processes have too.
    """
    while isinstance(model, DistributedDataParallel | nn.DataParallel):
        inner: nn.Module = model.module
        model = inner
    if (why := _apart(model)) is not None:
        raise ModelError(
            f"the model is not whole in this process: {why}. Per-example gradients are taken at "
            "each module's outputs in one process, each with examples of its own: of a part of a "
            "weight they would be partial, and the others would be waited for",
            remedy="load the base whole, with its adapter; where it does not fit on one device, "
            "from_pretrained(…, device_map='auto') over those of one process",
        )
    _require_own_gpus(model)
    return model


def _require_own_gpus(model: nn.Module) -> None:
    """One GPU may be shared, at its pace; what fills several is there once."""
    if (them := ranks()).count == 1:
        return
    of_each = [set(gpus) for gpus in them.gathered(_gpus(model))]
    own = of_each.pop(them.rank)
    if len(own) > 1 and any(own & others for others in of_each):
        raise ModelError(
            f"the model is spread over {len(own)} GPUs (device_map), and other processes on this "
            "machine have spread theirs over the same",
            remedy="one process a machine, torchrun --nproc-per-node 1; or a device_map of GPUs of "
            "its own for each process, by LOCAL_RANK",
        )


def _gpus(model: nn.Module) -> list[str]:
    """Those that the parameters are on, by names that no two have."""
    places = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
    return [gpu_name(place) for place in places]


def _apart(model: nn.Module) -> str | None:
    """What has taken a model apart; None where it is whole."""
    for name, module in model.named_modules():
        kinds = {kind.__name__ for kind in type(module).__mro__}
        for wrapper, what in WRAPPERS.items():
            if wrapper in kinds:
                return f"{what}{f', at {name}' if name else ''}"
    for name, parameter in model.named_parameters():
        of: Any = parameter
        if hasattr(of, "ds_id"):
            return f"DeepSpeed ZeRO-3 has sharded {name}"
        if hasattr(of, "device_mesh"):
            places = ", ".join(map(repr, of.placements))
            return f"{name} is a DTensor ({places}), by tensor parallelism, say (tp_plan)"
    if (size := getattr(model, "tp_size", None) or 1) > 1:
        return f"it is cut over {size} processes by tensor parallelism (tp_plan)"
    return None
