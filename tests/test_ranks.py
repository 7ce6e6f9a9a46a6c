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
from datainf import GradientStore, collect, load_scores
from datainf.tasks import Custom
from datainf.tasks.sampled import OF

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
ROWS = [{"prompt": text, "completion": text[::-1]} for text in TEXTS * 3]


def launched(count, *arguments, options=(), timeout=None):
    """What so many processes come to, started by torchrun."""
    return subprocess.run(
        [*TORCHRUN, str(count), *options, *map(str, arguments)], capture_output=True, text=True,
        check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=timeout,
    )  # fmt: skip


def torchrun(count, *arguments):
    done = launched(count, *arguments)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Of 7 training examples, fewer than one for each of 4 processes twice, in two shards."""
    folder = tmp_path_factory.mktemp("stores")
    widths = {"a.lora_A": 12, "a.lora_B": 5, "b.lora_A": 9}
    sizes = {"train": 7, "query": 3, "drawn": 11, "later": 7}
    for seed, (name, rows) in enumerate(sizes.items()):
        store = make(folder / name, rows, widths, seed, rows=4)
        if name == "drawn":
            store.index.task = {OF: {}}
            store.index.save(folder / name)
    collect(
        torch.nn.Linear(2, 1, bias=False), [torch.tensor([float(i % 2), -1.0]) for i in range(7)],
        Custom(lambda model, batch: model(batch)[:, 0]), out=folder / "ties", shard_rows=4,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def truth(stores):
    return ranks_worker.found(stores)


@pytest.mark.parametrize("count", [2, 4])
def test_scores_are_those_of_one_process(stores, truth, count):
    worker, tied = Path(ranks_worker.__file__), ranks_worker.tied(stores)
    torchrun(count, worker, "all", stores)
    told = [torch.load(stores / f"all-{rank}-of-{count}.pt") for rank in range(count)]
    for one in told:
        assert one["found"].keys() == truth.keys()
        for name, values in truth.items():
            off = (one["found"][name] - values).double().norm() / values.double().norm()
            # Steps of conjugate gradients make more of the rounding of each sum.
            assert off < (1e-5 if name.startswith("cg") else 1e-6), f"{name}: {off}"
        assert one["tied"].keys() == tied.keys()
        for name, values in tied.items():
            assert torch.equal(one["tied"][name], values), name
    first = GradientStore.open(stores / "train").blocks["a.lora_A"].to_dense()[:, 0].tolist()
    for name in told[0]["read"]:
        rows = [set(first) & one["read"][name] for one in told]
        assert sum(map(len, rows)) <= len(first), f"{name}: some are read by several"
        if "gradient" not in name or "own" not in name:  # whose norms the store has
            assert set().union(*rows) == set(first), f"{name}: all are read by some"


def test_a_store_of_some_processes_is_one_for_any_number(tmp_path):
    """Made by four, of which one has more shards than another; scored by more than it has rows."""
    worker = Path(ranks_worker.__file__)
    torchrun(4, worker, "collect", tmp_path)
    truth = ranks_worker.of_few(tmp_path)
    torchrun(8, worker, "few", tmp_path)
    for rank in range(8):
        found = torch.load(tmp_path / f"few-{rank}-of-8.pt")
        assert found.keys() == truth.keys()
        for name, values in truth.items():
            assert torch.allclose(found[name], values, rtol=1e-5, atol=1e-6), name
    ranks_worker.collected(tmp_path / "alone")
    for file in sorted(tmp_path.glob("five/*.safetensors")):
        assert file.read_bytes() == (tmp_path / "alone" / "five" / file.name).read_bytes()


def test_accelerate_starts_them_as_torchrun_does(tmp_path):
    # --cpu, which is for MPI, would start one; without a GPU this starts both on the CPU.
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    done = subprocess.run(
        [*launcher, "--num_processes", "2", ranks_worker.__file__, "collect", tmp_path],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == [
        "collect-0-of-2.pt", "collect-1-of-2.pt"
    ]  # fmt: skip
    ranks_worker.collected(tmp_path / "alone")
    for file in sorted((tmp_path / "alone").glob("*/*.safetensors")):
        assert file.read_bytes() == (tmp_path / file.relative_to(tmp_path / "alone")).read_bytes()


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


def test_a_store_grows_by_several_processes(saved_llama, datainf, tmp_path):
    """To the bytes that one process gives it."""
    old = write_rows(tmp_path / "old.jsonl", ROWS[:5])
    new = write_rows(tmp_path / "new.jsonl", ROWS[5:])
    found = []
    for out in (tmp_path / "alone", tmp_path / "together"):
        how = ["collect", "--adapter", saved_llama[1], "--out", out, "--shard-rows", 2]
        code, _, err = datainf(*how, "--data", old)
        assert code == 0, err
        more = [*how, "--data", new, "--append"]
        if out.name == "together":
            torchrun(2, "-m", "datainf", *more)
        else:
            code, _, err = datainf(*more)
            assert code == 0, err
        found.append({path.name: path.read_bytes() for path in out.glob("*.safetensors")})
        index = json.loads((out / "index.json").read_text())
        assert [part["rows"] for part in index["parts"]] == [5, 13]
    assert len(found[0]) == 10
    assert found[0] == found[1]
