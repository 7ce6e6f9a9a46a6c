"""What there is and what is kept."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
import torch
from torch import nn

from datainf import memory
from datainf.gradients import budget
from datainf.gradients.budget import token_budget

CPU = torch.device("cpu")


def test_what_a_forward_pass_keeps_is_counted_once_and_weights_are_not():
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 4, bias=False))
    x = torch.randn(5, 8)
    with memory.counting_kept(model) as kept:
        model(x).square().sum()
    # x for the first layer's weight, tanh's output, twice used, and the last output, for square.
    assert kept.bytes == 4 * 5 * (8 + 32 + 4)


def test_a_container_s_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    free = memory.available(CPU)
    assert free > 2**20
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert memory.available(CPU) > 2**20
    (tmp_path / "memory.max").write_text("1500000\n")
    assert memory.available(CPU) == 500_000
    (tmp_path / "memory.stat").write_text("anon 5\nactive_file 30000\ninactive_file 4000\nx 1\n")
    assert memory.available(CPU) == 534_000
    (tmp_path / "memory.stat").unlink()
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory.available(CPU) == 0


def test_a_budget_is_what_keeps_busy_or_what_fits(monkeypatch):
    monkeypatch.setattr(budget, "available", lambda _: 1000 * 2**20)
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
