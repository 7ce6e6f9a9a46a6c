"""Several processes write one store in object storage."""

from __future__ import annotations

import os
import subprocess
import sys

from conftest import TEXTS, write_rows
from datainf import GradientStore
from datainf.provenance import RECORD
from datainf.remote import place

pytest_plugins = ["object_storage"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_two_processes_write_the_store_of_one(saved_llama, tmp_path, bucket):
    data = write_rows(tmp_path / "data.jsonl", [{"text": text + "!"} for text in TEXTS])
    url, folder = f"{bucket}/train", tmp_path / "train"
    for program, out in (([sys.executable], folder), (TORCHRUN, url)):
        done = subprocess.run(
            [*program, "-m", "datainf", "collect", "--adapter", saved_llama[1], "--data", data,
             "--out", out, "--shard-rows", "1"],
            capture_output=True, text=True, check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    found = {path.name: path for path in place(url).iterdir()}
    shards = [f"shard-{number:05d}.safetensors" for number in range(6)]
    assert sorted(found) == ["index.json", RECORD, *shards]
    for name, path in found.items():
        if name in shards:
            assert path.read_bytes() == (folder / name).read_bytes()
    assert GradientStore.open(url).index.shards == GradientStore.open(folder).index.shards
