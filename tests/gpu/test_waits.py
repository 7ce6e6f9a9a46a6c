"""How often a program waits for its device, and what it sends there.

Each wait lets a GPU run out of work: a batch's are as many however many tensors an adapter has, and
a 7B model's has hundreds.
"""

from __future__ import annotations

import peft
import pytest
import torch

from conftest import lora_config, make_base, make_rows
from datainf import scoring, tasks
from datainf.estimators import DataInf
from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import blocks_of, select
from datainf.gradients.reduction import reductions_of
from datainf.linalg import ChunkedMatrix, Damping, from_dense
from datainf.projection import Projection
from datainf.store import Index
from datainf.store.shards import ShardDraft
from pretend_device import DEVICE, PretendDevice, moved


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
