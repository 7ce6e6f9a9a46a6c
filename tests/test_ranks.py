"""Several processes give the scores that one gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ranks_worker
from benchmarks.made_stores import make
from datainf.tasks.sampled import OF

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Of 7 training examples, fewer than one for each of 4 processes twice, in two shards."""
    folder = tmp_path_factory.mktemp("stores")
    widths = {"a.lora_A": 12, "a.lora_B": 5, "b.lora_A": 9}
    for seed, (name, rows) in enumerate({"train": 7, "query": 3, "drawn": 11}.items()):
        store = make(folder / name, rows, widths, seed, rows=4)
        if name == "drawn":
            store.index.task = {OF: {}}
            store.index.save(folder / name)
    return folder


@pytest.fixture(scope="module")
def truth(stores):
    return ranks_worker.found(stores)


@pytest.mark.parametrize("count", [2, 4])
def test_scores_are_those_of_one_process(stores, truth, count):
    worker = Path(ranks_worker.__file__)
    subprocess.run(
        [*TORCHRUN, "--nproc-per-node", str(count), str(worker), str(stores)], check=True
    )
    for rank in range(count):
        found = torch.load(stores / f"rank-{rank}-of-{count}.pt")
        assert found.keys() == truth.keys()
        for name, values in truth.items():
            off = (found[name] - values).norm() / values.norm()
            assert off < 1e-6, f"{name}: {off}"
