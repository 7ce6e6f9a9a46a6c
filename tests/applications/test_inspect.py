"""What inspect reports, against the dense gradients."""

from __future__ import annotations

import pytest
import torch

from conftest import make_model, make_rows
from datainf import Damping, collect, tasks
from datainf.applications.inspect import effective_rank, inspect
from datainf.linalg import from_dense


@pytest.fixture(scope="module")
def store(tmp_path_factory, tokenizer):
    rows = make_rows("llama") * 2
    task = tasks.CausalLM(tokenizer)
    return collect(make_model("llama"), rows, task, out=tmp_path_factory.mktemp("s") / "store")


def test_blocks_are_described_by_their_gradients(store):
    report = inspect(store, Damping.parse("0.1"))
    assert [block.name for block in report.blocks] == [b.name for b in store.index.blocks]
    for block in report.blocks:
        G = store.blocks[block.name].to_dense().double()
        norms = G.norm(dim=1)
        assert block.width == block.columns == G.shape[1]
        assert block.damping_lambda == pytest.approx(0.1 * norms.square().mean() / G.shape[1])
        assert block.quantiles[1] == pytest.approx(float(norms.quantile(0.5)), rel=1e-5)
        assert block.quantiles[3] == pytest.approx(float(norms.max()), rel=1e-5)
        K = G @ G.T
        assert block.effective_rank == pytest.approx(float(K.trace() ** 2 / K.square().sum()))
    whole = torch.cat([m.to_dense() for m in store.blocks.values()], 1).norm(dim=1)
    identifier, norm = report.largest[0]
    assert norm == pytest.approx(float(whole.max()), rel=1e-5)
    assert whole[identifier] == whole.max()


def test_effective_rank_of_known_matrices():
    assert effective_rank(from_dense(torch.eye(7))) == pytest.approx(7)
    assert effective_rank(from_dense(torch.ones(9, 4))) == pytest.approx(1)
    assert effective_rank(from_dense(torch.zeros(3, 4))) == 0


def test_warnings_say_what_a_method_assumes(tmp_path, tokenizer):
    """A row whose loss is a thousand times the others', and a block that no example reaches."""
    model = make_model("llama")
    for name, parameter in model.named_parameters():
        if "layers.1" in name and "v_proj.lora_A" in name:
            torch.nn.init.zeros_(parameter)  # then B's gradient is zero
    encoder = tasks.CausalLM(tokenizer)

    def losses(model, batch):
        scale = batch["input_ids"].new_ones(len(batch["input_ids"]), dtype=torch.float32)
        scale[batch["input_ids"][:, 0] == tokenizer.convert_tokens_to_ids("z")] = 1000.0
        return encoder.losses(model, batch) * scale

    rows = [*({"text": f"{word} text"} for word in "abcdefgh"), {"text": "z text"}]
    task = tasks.Custom(losses, encoder.collate, length=encoder.length)
    report = inspect(collect(model, rows, task, out=tmp_path / "s"))
    text = "\n".join(report.warnings)
    assert "1 of 9 gradients are over 10 times the median" in text
    assert "every gradient is zero in 1 block, for which nothing is counted" in text
    assert "layers.1.self_attn.v_proj.lora_B" in text
    assert "more numbers a row than there are examples (9)" in text
    assert report.largest[0][0] == 8
    [empty] = [block for block in report.blocks if block.zeros == 9]
    assert empty.damping_lambda == empty.effective_rank == empty.outliers == 0


def test_a_damping_that_is_tiny_is_warned_of(store):
    assert any("λ is under" in text for text in inspect(store, Damping.parse("1e-6")).warnings)
    large = inspect(store, Damping.parse("trace:0.02")).warnings
    assert not any("λ is under" in text for text in large)
