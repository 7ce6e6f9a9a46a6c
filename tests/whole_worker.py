"""One process of tests/gradients/test_whole.py: what `collect` makes of models that training in
several processes leaves, each as its library makes it."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

import datainf
from datainf.errors import ModelError
from datainf.gradients import whole
from datainf.launch import launch
from datainf.ranks import ranks
from datainf.tasks import Custom

DATA = list(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))


def task() -> Custom:
    return Custom(lambda model, batch: model(batch)[:, 0])


def sharded(made: nn.Module) -> nn.Module:
    """By layers, and not as a whole."""
    for layer in made.children():
        fully_shard(layer, mesh=init_device_mesh("cpu", (2,)))
    return made


def cut(made: nn.Module) -> nn.Module:
    return parallelize_module(made, init_device_mesh("cpu", (2,)), {"0": ColwiseParallel()})


def zero3(made: nn.Module) -> nn.Module:
    """As DeepSpeed, which is not installed here, leaves its parameters: empty, with an id."""
    for number, parameter in enumerate(made.parameters()):
        parameter.ds_id = number  # type: ignore[attr-defined]
        parameter.data = torch.empty(0)
    return made


def spread(made: nn.Module) -> nn.Module:
    whole._gpus = lambda model: ["one", "two"] if model is made else []
    return made


WAYS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "fsdp2": sharded,
    "fsdp2 whole": lambda made: fully_shard(made, mesh=init_device_mesh("cpu", (2,))),
    "fsdp1": lambda made: FullyShardedDataParallel(made, device_id=torch.device("cpu")),
    "cut": cut,
    "zero3": zero3,
    "spread": spread,
    "ddp": DistributedDataParallel,
    "plain": lambda made: made,
}

if __name__ == "__main__":
    ranks()
    folder, said = Path(sys.argv[1]), {}
    for way, make in WAYS.items():
        made = make(copy.deepcopy(model()))
        try:
            datainf.collect(made, DATA, task(), out=folder / way)
            said[way] = ""
        except ModelError as error:
            said[way] = str(error)
    (folder / f"said-{launch().rank}.json").write_text(json.dumps(said))
