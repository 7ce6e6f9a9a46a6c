"""How often a program waits for its device, and what it sends there.

Each wait lets a GPU run out of work: a batch's are as many however many tensors an adapter has, and
a 7B model's has hundreds.
"""

from __future__ import annotations

import errno
import os
import threading

import peft
import pytest
import torch

from conftest import lora_config, make_base, make_model, make_rows
from datainf import collect, scoring, tasks
from datainf.errors import WriteError
from datainf.estimators import DataInf
from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import blocks_of, select
from datainf.gradients.reduction import reductions_of
from datainf.linalg import ChunkedMatrix, Damping, from_dense
from datainf.projection import Projection
from datainf.store import Block, Index
from datainf.store.shards import ShardDraft
from pretend_device import CAN_RUN_MODELS, DEVICE, PretendDevice, moved


def one_batch(layers, dtype, stored, projection, tokenizer, folder):
    """What a batch's gradients and their rows in a shard cost: waits, and what is sent."""
    torch.manual_seed(0)
    base = make_base("llama", num_hidden_layers=layers).to(dtype)
    model = moved(peft.get_peft_model(base, lora_config("llama")))
    task, rows, chosen = tasks.CausalLM(tokenizer).for_model(model), make_rows("llama"), None
    chosen = select(model)
    blocks = blocks_of(model, chosen)
    moments = {block.name: torch.ones(block.width) for block in blocks}
    engine = PerExample(
        model, chosen, task, DEVICE, reductions=reductions_of(projection, blocks, moments, DEVICE)
    )
    draft = ShardDraft(
        folder / f"{layers}.safetensors", Index(len(rows), stored, blocks, {}, len(rows)),
        list(range(len(rows))),
    )  # fmt: skip
    with evaluating(model), PretendDevice() as device:
        engine.check(rows[:3])
        engine(rows)
        device.waits.clear()
        device.sent.clear()
        found = engine(rows)
        if projection is None:
            draft.put(range(len(rows)), found.gradients, found.losses)
    draft.drop()
    return device.waits, device.sent


@CAN_RUN_MODELS
@pytest.mark.parametrize(
    ("dtype", "stored", "projection"),
    [
        (torch.float32, "float32", None),
        (torch.bfloat16, "int8", None),
        (torch.float16, "float32", Projection(2)),
        (torch.float32, "float32", Projection(2, metric="adam")),
    ],
    ids=str,
)
def test_more_layers_are_no_more_waits(dtype, stored, projection, tokenizer, tmp_path):
    with PretendDevice():
        few, many = (
            one_batch(layers, dtype, stored, projection, tokenizer, tmp_path) for layers in (1, 3)
        )
    assert few == many
    waits, _ = few
    assert 0 < waits.total() <= 8


def test_rows_go_to_a_device_as_narrow_as_they_are_stored():
    rows, X = torch.randn(6, 5).bfloat16(), torch.randn(5, 2)
    G = ChunkedMatrix([lambda: rows[:4], lambda: rows[4:]], [0, 4, 6], 5)
    with PretendDevice() as device:
        found = (G.to(device=DEVICE) @ X).cpu()
    assert device.sent == {torch.bfloat16: 2, torch.float32: 1}
    assert torch.allclose(found, rows.float() @ X)


@pytest.mark.parametrize("share", [0.25, 0.0])
def test_a_block_that_fits_a_device_goes_there_once(share, monkeypatch):
    """However small the bound on the CPU."""
    monkeypatch.setattr(scoring, "HELD_BYTES", 0)
    monkeypatch.setattr(scoring, "HELD_SHARE", share)
    G = from_dense(torch.randn(6, 5))
    with PretendDevice() as device:
        near = scoring.near(G, DEVICE)
        DataInf().fit(near).scores(torch.randn(2, 5).to(DEVICE), Damping().lambda_of(near))
    assert device.sent[torch.float32] == 1 + (1 if share else 3)  # norms, and two products


@pytest.fixture
def held_back(monkeypatch):
    """The disk writes nothing until this is set."""
    may, write = threading.Event(), os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda *told: may.wait(60) and write(*told))
    yield may
    may.set()


def test_rows_are_written_while_the_device_goes_on(held_back, tmp_path):
    rows, index = torch.randn(2, 5), Index(2, "float32", [Block("a", (5,), "")], {}, 2)
    draft = ShardDraft(tmp_path / "s.safetensors", index, [0, 1])
    with PretendDevice():
        draft.put([1, 0], {"a": rows.to(DEVICE)}, torch.ones(2).to(DEVICE))
        assert draft.losses.tolist() == [1, 1]
        held_back.set()
        assert torch.equal(draft.row(1)[1]["a"], rows[0])
    draft.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["s.safetensors"]


@CAN_RUN_MODELS
def test_a_disk_that_refuses_meanwhile(tokenizer, tmp_path, monkeypatch):
    """Is an error of the next call, and what was finished is kept."""
    model, task, left = make_model("llama"), tasks.CausalLM(tokenizer), [30]
    write = os.pwrite

    def until_full(*told):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*told)

    with PretendDevice():
        moved(model)
        monkeypatch.setattr(os, "pwrite", until_full)
        with pytest.raises(WriteError, match="No space left"):
            collect(model, make_rows("llama"), task, out=tmp_path, batch_tokens=1, shard_rows=2)
        kept = sorted(path.name for path in tmp_path.glob("shard*"))
        assert kept == ["shard-00000.safetensors"]
        monkeypatch.undo()
        store = collect(model, make_rows("llama"), task, out=tmp_path, batch_tokens=1, shard_rows=2)
    assert len(store) == len(make_rows("llama"))
