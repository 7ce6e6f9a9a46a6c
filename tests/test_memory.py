"""What there is and what is kept."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from datainf import memory
from datainf.gradients import budget
from datainf.gradients.budget import token_budget
from datainf.ranks import Ranks

CPU = torch.device("cpu")


def test_what_a_forward_pass_keeps_is_counted_once_and_weights_are_not():
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 4, bias=False))
    x = torch.randn(5, 8)
    with memory.counting_kept(model) as kept:
        model(x).square().sum()
    # x for the first layer's weight, tanh's output, twice used, and the last output, for square.
    assert kept.bytes == 4 * 5 * (8 + 32 + 4)


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Writes a group's files; the process is in /job/step."""
    (tmp_path / "own").write_text("4:memory,x:/v1/job\n1:cpu:/other\n0::/job/step\n")
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(memory, "CONTROL_GROUPS", tmp_path / "groups")

    def write(path, limit, used, *, old=False, stat=None):
        folder = tmp_path / "groups" / path
        folder.mkdir(parents=True, exist_ok=True)
        names = ("limit_in_bytes", "usage_in_bytes") if old else ("max", "current")
        for name, value in zip(names, (limit, used), strict=True):
            (folder / f"memory.{name}").write_text(f"{value}\n")
        (folder / "memory.stat").write_text(stat or "anon 5\n")

    return write


@pytest.mark.parametrize("path", ["", "job", "job/step"])
def test_a_limit_on_the_own_group_or_any_above_it_counts(group, path):
    for one in ("", "job", "job/step", "other"):
        group(one, "1" if one == "other" else "max", 1_000_000)
    free = memory.available(CPU)
    assert free > 2**20
    group(path, 1_500_000, 1_000_000)
    assert memory.available(CPU) == 500_000
    group(path, 1_500_000, 1_000_000, stat="active_file 30000\ninactive_file 4000\nx 1\n")
    assert memory.available(CPU) == 534_000
    group(path, 1000, 1_000_000)
    assert memory.available(CPU) == 0


def test_of_several_limits_the_one_that_leaves_least_counts(group):
    group("job", 9_000_000, 2_000_000)
    group("job/step", 8_000_000, 500_000)
    assert memory.available(CPU) == 7_000_000


def test_groups_of_version_1_count(group):
    group("memory", 2**63 - 4096, 1_000_000, old=True)  # no limit
    assert memory.available(CPU) > 2**20
    stat = "active_file 1\ntotal_active_file 20000\ntotal_inactive_file 3000\n"
    group("memory/v1", 1_500_000, 1_000_000, old=True, stat=stat)
    assert memory.available(CPU) == 523_000


def test_a_container_sees_its_own_limit_at_the_root(group):
    group("", 1_500_000, 1_000_000)  # and no folder of /job/step
    assert memory.available(CPU) == 500_000


def test_a_budget_is_what_keeps_busy_or_what_fits(monkeypatch):
    monkeypatch.setattr(budget, "available_each", lambda _: 1000 * 2**20)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert token_budget(CPU, 0, 1) == 1024
    assert token_budget(CPU, 2**20, 128) == 1024
    assert token_budget(CPU, 2**20, 1) == 256  # 400 fit
    assert token_budget(CPU, 2**40, 1) == 1
    assert token_budget(torch.device("cuda"), 2**20, 32) == 8192
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert token_budget(CPU, 0, 1) == 4096
    monkeypatch.setattr(torch, "get_num_threads", lambda: 128)
    assert token_budget(CPU, 0, 1) == 8192


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_says_what_it_has():
    assert memory.available(torch.device("cuda")) > 2**20


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_what_was_freed_goes_back_to_the_system():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1])

    small = [bytearray(4000) for _ in range(20_000)]  # too small for mappings of their own
    kept, before = small[-1], resident()
    del small
    memory.release()
    assert len(kept) == 4000
    assert before - resident() > 10_000


def test_onednn_keeps_few_kernels_of_a_model_without_convolutions(monkeypatch):
    name, cpu = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", torch.device("cpu")
    monkeypatch.setenv(name, "7")
    memory.keep_few_primitives(nn.Linear(2, 2), cpu)
    assert os.environ[name] == "7"
    monkeypatch.delenv(name)
    memory.keep_few_primitives(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Linear(2, 2)), cpu)
    memory.keep_few_primitives(nn.Linear(2, 2), torch.device("cuda"))
    assert name not in os.environ
    memory.keep_few_primitives(nn.Linear(2, 2), cpu)
    assert os.environ[name] == str(memory.PRIMITIVES)


def test_processes_of_a_machine_share_its_memory(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda _: 1200)
    cpu, gpu = torch.device("cpu"), torch.device("cuda:0")
    assert memory.available_each(cpu) == memory.available_each(gpu) == 1200
    for name, value in {"WORLD_SIZE": "6", "RANK": "3", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(memory, "ranks", lambda: Ranks(3, 6, ("a", "b", "a", "b", "c", "c")))
    monkeypatch.setattr(memory, "gpu_name", lambda device: "abd"[device.index])
    assert memory.available_each(cpu) == 300
    assert memory.available_each(gpu) == 600
    assert memory.available_each(torch.device("cuda:2")) == 1200, "which no other has"
    assert (memory.for_each(cpu), memory.for_each(gpu)) == (
        " for each of 4 processes", " for each of 2 processes"
    )  # fmt: skip
