"""Memory for gradients: what the plan counts, and what it says where that is too much."""

from __future__ import annotations

import re

import pytest
import torch

from conftest import make_model, make_rows
from datainf import collect, tasks
from datainf.gradients import prepare
from datainf.planning import collecting
from datainf.planning.collecting import Memory
from datainf.planning.stores import Stores
from datainf.progress import Silent


@pytest.fixture
def prepared(tokenizer, tmp_path):
    def of(**options):
        model, rows = make_model("llama"), make_rows("llama") * 3
        task = tasks.CausalLM(tokenizer)
        pending = prepare(
            model, rows, task, out=tmp_path / "s", sample=False, progress=Silent(), **options
        )
        return Memory.of([Stores(pending, [tmp_path / "s"])])

    return of


def test_a_batch_that_fits_is_no_problem(prepared):
    memory = prepared()
    plan = memory.plan()
    assert plan.activations > 0
    assert plan.gradients > 0
    assert memory.problem_of(plan) is None


def test_fewer_tokens_a_batch_are_named_that_fit(prepared, monkeypatch):
    memory = prepared(batch_tokens=4096)
    needed = memory.plan().peak - memory.plan().in_use
    monkeypatch.setattr(collecting, "available_each", lambda _: needed - 10**5)
    problem = memory.problem_of(memory.plan())
    assert problem.what.startswith("gradients in batches of up to 4,096 tokens take some")
    assert "by what single examples kept" in problem.what
    (fewer,) = re.findall(r"^--batch-tokens (\d+), --max-length", problem.remedy)
    smaller = prepared(batch_tokens=int(fewer))
    assert smaller.problem_of(smaller.plan()) is None
    larger = prepared(batch_tokens=2 * int(fewer))
    assert larger.problem_of(larger.plan()) is not None


def test_where_no_batch_fits_examples_have_to_be_shorter(prepared, monkeypatch):
    memory = prepared()
    monkeypatch.setattr(collecting, "available_each", lambda _: collecting.LIBRARIES)
    assert memory.problem_of(memory.plan()).remedy.startswith("--max-length, --dtype bfloat16")


def test_what_is_done_takes_nothing(tokenizer, tmp_path):
    model, rows, task = make_model("llama"), make_rows("llama"), tasks.CausalLM(tokenizer)
    collect(model, rows, task, out=tmp_path / "s")
    pending = prepare(model, rows, task, out=tmp_path / "s", progress=Silent())
    assert Memory.of([Stores(pending, [tmp_path / "s"])]) is None


def test_the_check_at_the_start_is_counted(prepared):
    """Where a batch has a few tokens, it is what takes most."""
    memory = prepared(batch_tokens=2, project=16)
    plan, full = memory.plan(), 4 * sum(p.numel() for p in make_model("llama").parameters()
                                        if p.requires_grad)  # fmt: skip
    assert plan.gradients == 3 * full
    alone = prepared(batch_tokens=1, project=16).plan()
    assert alone.gradients == full
    assert torch.device(plan.device).type == "cpu"
