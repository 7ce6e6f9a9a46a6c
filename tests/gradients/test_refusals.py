"""What the machine refuses in the middle: finished shards stay, the message says what to do, and
the same call goes on to the same bytes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from conftest import TEXTS, make_model
from datainf import collect, tasks
from datainf.errors import PlanError, WriteError
from datainf.gradients.collector import Collector

ROWS = [{"prompt": text, "completion": text[::-1]} for text in TEXTS * 2]


def mount(*options):
    return subprocess.run(["mount", *map(str, options)], capture_output=True, check=False)


@pytest.fixture
def disk(tmp_path):
    """A disk of its own that can be made larger, or read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or mount("-t", "tmpfs", "-o", "size=320k", "x", folder).returncode
    ):
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def model():
    return make_model("llama")


@pytest.fixture(scope="module")
def task(tokenizer):
    return tasks.CausalLM(tokenizer)


@pytest.fixture(scope="module")
def whole(model, task, tmp_path_factory):
    """An undisturbed store's shards."""
    out = tmp_path_factory.mktemp("whole") / "s"
    collect(model, ROWS, task, out=out, shard_rows=2)
    return files(out)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("shard-*"))}


def test_a_full_disk(model, task, whole, disk):
    """Really full: room for a shard or two, and then none."""
    out = disk / "s"
    (disk / "ballast").write_bytes(
        bytes(320 * 1024 - 5 * len(whole["shard-00000.safetensors"]) // 2)
    )
    with pytest.raises(WriteError, match=r"No space left on device.*is kept\n.*free some space"):
        collect(model, ROWS, task, out=out, shard_rows=2)
    kept = files(out)
    assert 1 <= len(kept) < len(whole)
    assert all(whole[name] == data for name, data in kept.items())
    (disk / "ballast").unlink()
    collect(model, ROWS, task, out=out, shard_rows=2)
    assert files(out) == whole


class Stops(Exception):
    pass


def test_a_disk_that_became_read_only(model, task, whole, disk, monkeypatch):
    """Between a run that was stopped and the one that goes on."""
    out, shard = disk / "s", Collector.shard

    def stops(self, store, rows, *rest):
        if rows.start == 4:
            raise Stops
        shard(self, store, rows, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Collector, "shard", stops)
        with pytest.raises(Stops):
            collect(model, ROWS, task, out=out, shard_rows=2)
    assert mount("-o", "remount,ro", disk).returncode == 0
    with pytest.raises(WriteError, match=r"Read-only file system.*\n.*can be written to"):
        collect(model, ROWS, task, out=out, shard_rows=2)
    assert len(files(out)) == 2
    assert mount("-o", "remount,rw", disk).returncode == 0
    collect(model, ROWS, task, out=out, shard_rows=2)
    assert files(out) == whole


class Greedy(tasks.CausalLM):
    """Once so many examples were taken, there is no memory left for any."""

    left = 10_000

    def losses(self, model, batch):
        Greedy.left -= len(batch["input_ids"])
        if Greedy.left < 0:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().losses(model, batch)


def test_memory_that_runs_out_for_good(model, tokenizer, tmp_path, monkeypatch):
    task, out, shard = Greedy(tokenizer), tmp_path / "s", Collector.shard

    def then_nothing(self, store, rows, *rest):
        if rows.start == 4:
            Greedy.left = 0
        shard(self, store, rows, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Collector, "shard", then_nothing)
        patch.setattr(Greedy, "left", 10_000)
        with pytest.raises(PlanError, match=r"example \d alone does not fit .* shards are kept\n"):
            collect(model, ROWS, task, out=out, shard_rows=2)
    kept = files(out)
    assert len(kept) == 2
    collect(model, ROWS, task, out=out, shard_rows=2)
    assert {name: files(out)[name] for name in kept} == kept
    assert len(files(out)) == 6
