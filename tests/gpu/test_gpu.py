"""On a GPU: a handful of cells in three dtypes, and bitsandbytes' packed weights."""

from __future__ import annotations

import importlib.util
from typing import Any

import peft
import pytest
import torch
import transformers

from close import alone, batched, eight_mixed, error
from conftest import make_base, make_rows
from datainf import tasks
from datainf.gradients.collect import collect
from datainf.gradients.parameters import weights
from support import BASES, SIZES, build

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.2, torch.float16: 0.05}
"""A batch beside its examples alone; a GPU picks another kernel, with another order of sums, for
another number of rows."""


@pytest.fixture(autouse=True)
def full_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("adapter", ["LoRA", "DoRA", "Full fine-tuning"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "bart", "vit"])
def test_a_batch_is_its_examples_alone(name, adapter, dtype):
    base = BASES[name]
    model = build(adapter, base, dtype).cuda()
    task, rows = base.fit(model), eight_mixed(base.rows())
    truth = alone(model, task, rows)
    whole = torch.cat([*truth.values()], dim=1)
    for size in SIZES:
        found = batched(model, task, rows, size)
        flat = torch.cat([found[n] for n in truth], dim=1)
        # The engine has compared block by block; here all of them, and all eight rows.
        assert float(((flat - whole).norm(dim=1) / whole.norm(dim=1)).max()) < TOLERANCE[dtype]
        assert float(torch.nn.functional.cosine_similarity(flat, whole).min()) > 0.99


@pytest.mark.parametrize("adapter", ["LoRA", "DoRA", "Full fine-tuning"])
def test_a_gpu_gives_what_a_cpu_gives(adapter):
    base = BASES["llama"]
    model = build(adapter, base)
    task, rows = base.fit(model), eight_mixed(base.rows())
    truth = alone(model, task, rows)
    found = {name: g.cpu() for name, g in batched(model.cuda(), task, rows, 3).items()}
    assert error(found, truth) < 1e-3


PACKED: dict[str, dict[str, Any]] = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": torch.bfloat16},
    "fp4": {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.bfloat16},
    "int8": {"load_in_8bit": True},
}  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="no bitsandbytes")
@pytest.mark.parametrize("way", PACKED)
def test_packed_weights(way, tokenizer, tmp_path):
    settings = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2}
    make_base("llama", **settings).save_pretrained(tmp_path / "base")
    config = transformers.BitsAndBytesConfig(**PACKED[way])
    model = transformers.LlamaForCausalLM.from_pretrained(
        tmp_path / "base", quantization_config=config, device_map={"": 0}, dtype=torch.bfloat16
    )
    lora = peft.LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False
    )
    model = peft.get_peft_model(model, lora)
    task, rows = tasks.CausalLM(tokenizer).for_model(model), eight_mixed(make_rows("llama"))
    before = {name: value.clone() for name, value in weights(model, replaced=True)}
    truth = alone(model, task, rows)
    whole = torch.cat([*truth.values()], dim=1)
    for size in SIZES:
        flat = torch.cat([*batched(model, task, rows, size).values()], dim=1)
        assert float(((flat - whole).norm(dim=1) / whole.norm(dim=1)).max()) < 0.2
    first = collect(model, rows, task, out=tmp_path / "first")
    assert all(torch.equal(value, before[name]) for name, value in weights(model, replaced=True))
    second = collect(model, rows, task, out=tmp_path / "second")
    assert first.index.fingerprints == second.index.fingerprints
