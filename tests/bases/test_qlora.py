"""The benchmark of QLoRA, tiny, on a CPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import transformers

pytestmark = pytest.mark.filterwarnings("ignore")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def qlora(monkeypatch):
    pytest.importorskip("bitsandbytes")
    monkeypatch.syspath_prepend(BENCHMARKS)
    import qlora

    return qlora


@pytest.mark.parametrize("more", [[], ["--checkpointing"]], ids=["plain", "checkpointing"])
def test_it_runs(qlora, more, monkeypatch, capsys):
    if torch.cuda.is_available():
        pytest.skip("it would write the figures of a tiny model")
    tiny = ["--layers", "2", "--hidden", "64", "--examples", "6", "--longest", "40",
            "--shortest", "8"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["qlora.py", *tiny, *more])
    qlora.main()
    said = capsys.readouterr().out
    assert "| gradients taken | in batches |" in said
    assert "tokens/s" in said


def test_its_base_is_what_it_says(qlora):
    """Packed weights count one by one, every layer is packed, and nothing is left without values;
    the default is over a billion."""
    model = qlora.make_base(2, 64, torch.device("cpu"))
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    plain = transformers.LlamaForCausalLM(model.config)
    assert qlora.count(model) == sum(p.numel() for p in plain.parameters())
    assert sum(isinstance(m, qlora.bitsandbytes.nn.Linear4bit) for m in model.modules()) == 2 * 7
    fresh = plain.model.rotary_emb.inv_freq
    assert torch.equal(model.model.rotary_emb.inv_freq, fresh)
    with torch.device("meta"):
        whole = transformers.LlamaForCausalLM(qlora.shape(22, 2048))
    assert sum(p.numel() for p in whole.parameters()) > 1e9
