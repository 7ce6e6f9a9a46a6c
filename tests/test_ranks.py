"""Several processes give the scores that one gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ranks_worker
from benchmarks.made_stores import make
from conftest import TEXTS, attributed, write_rows
from datainf import load_scores
from datainf.tasks.sampled import OF

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
ROWS = [{"prompt": text, "completion": text[::-1]} for text in TEXTS * 3]


def torchrun(count, *arguments):
    done = subprocess.run(
        [*TORCHRUN, str(count), *map(str, arguments)], capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


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
    torchrun(count, worker, stores)
    for rank in range(count):
        found = torch.load(stores / f"rank-{rank}-of-{count}.pt")
        assert found.keys() == truth.keys()
        for name, values in truth.items():
            off = (found[name] - values).norm() / values.norm()
            # Steps of conjugate gradients make more of the rounding of each sum.
            assert off < (1e-5 if name.startswith("cg") else 1e-6), f"{name}: {off}"


@pytest.mark.parametrize("count", [2, 3])
def test_a_run_is_that_of_one_process(saved_llama, tmp_path, count):
    """Stores to the byte; scores but for the order of sums."""
    options = {"shard_rows": 2, "seed": 3}
    alone = attributed(tmp_path / "alone", saved_llama[1], ROWS, ROWS[:3], **options)
    together = tmp_path / "together"
    done = torchrun(
        count, "-m", "datainf", "attribute", "--adapter", saved_llama[1],
        "--train", write_rows(tmp_path / "train.jsonl", ROWS),
        "--query", write_rows(tmp_path / "query.jsonl", ROWS[:3]),
        "--out", together, "--shard-rows", 2, "--seed", 3,
    )  # fmt: skip
    for name in ("train", "query", "curvature"):
        files = sorted(path.name for path in (alone / name).glob("*.safetensors"))
        assert sorted(path.name for path in (together / name).glob("*.safetensors")) == files
        for file in files:
            assert (together / name / file).read_bytes() == (alone / name / file).read_bytes()
        shards = [json.loads((run / name / "index.json").read_text())["shards"]
                  for run in (alone, together)]  # fmt: skip
        assert shards[0] == shards[1]
        assert list((together / name).glob("shard-*.json")) == []
    a, b = (load_scores(run / "scores.safetensors") for run in (alone, together))
    assert (a.values - b.values).norm() <= 1e-6 * a.values.norm()
    assert (together / "report.html").is_file()
    assert done.stderr.count("scores, top examples and settings are in") == 1
