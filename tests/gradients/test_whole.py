"""Models that training in several processes has taken apart are refused; wrapped ones are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import whole_worker
from datainf import GradientStore, collect
from datainf.devices import own
from datainf.errors import OptionError
from test_ranks import torchrun

REFUSED = {
    "fsdp2": "FSDP2 has sharded it (fully_shard), at 0",
    "fsdp2 whole": "FSDP2 has sharded it (fully_shard).",
    "fsdp1": "FSDP has sharded it.",
    "cut": "0.weight is a DTensor (Shard(dim=0)), by tensor parallelism, say (tp_plan)",
    "zero3": "DeepSpeed ZeRO-3 has sharded 0.weight",
    "spread": "spread over 2 GPUs (device_map), and other processes",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    torchrun(2, Path(whole_worker.__file__), folder)
    return folder


@pytest.mark.parametrize("rank", [0, 1])
def test_what_is_apart_is_refused_with_the_reason(folder, rank):
    said = json.loads((folder / f"said-{rank}.json").read_text())
    for way, why in REFUSED.items():
        assert why in said[way], way
        assert "Try: " in said[way]
        assert not (folder / way).exists(), "nothing was written"
        if way != "spread":
            assert "the model is not whole in this process" in said[way]
            assert "load the base whole" in said[way]
    assert said["ddp"] == said["plain"] == ""


def test_ddp_is_looked_into(folder, tmp_path):
    """Its parameters by their own names, and to the bytes of one process."""
    collect(whole_worker.model(), whole_worker.DATA, whole_worker.task(), out=tmp_path)
    for way in ("ddp", "plain"):
        assert list(GradientStore.open(folder / way).blocks) == [
            "0.weight", "0.bias", "1.weight", "1.bias"
        ]  # fmt: skip
        name = "shard-00000.safetensors"
        assert (folder / way / name).read_bytes() == (tmp_path / name).read_bytes()


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    assert own(torch.device("cuda:1")) == torch.device("cuda:1")
    for name, value in {"WORLD_SIZE": 8, "RANK": 5, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert own(torch.device("cuda")) == torch.device("cuda:1")
    assert own(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(OptionError, match="cuda:0 is one GPU, and 4 processes") as caught:
        own(torch.device("cuda:0"))
    assert caught.value.remedy.startswith("cuda,")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")  # one process a machine may name it
    assert own(torch.device("cuda:3")) == torch.device("cuda:3")
