"""Models that accelerate divides: over the memory and the disk, over two GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from close import alone, eight_mixed, error, worst_error
from conftest import make_base, make_rows
from datainf import tasks
from datainf.errors import ModelError
from datainf.gradients.collect import collect
from datainf.gradients.parameters import select

PARTS = ["model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "lm_head",
         "model.rotary_emb"]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    make_base("llama").save_pretrained(folder)
    return folder


def adapted(base: Path, layers: list[int] | None = None, **told: Any) -> peft.PeftModel:
    """LoRA of the same values each time, wherever the base is."""
    model = transformers.LlamaForCausalLM.from_pretrained(base, **told)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False,
        layers_to_transform=layers,
    )  # fmt: skip
    torch.manual_seed(0)
    return peft.get_peft_model(model, config)


def on_disk(base: Path, folder: Path, *names: str, layers: list[int]) -> peft.PeftModel:
    places = {part: "disk" if part in names else "cpu" for part in PARTS}
    return adapted(base, layers, device_map=places, offload_folder=folder)


def test_frozen_layers_on_the_disk(base, tokenizer, tmp_path):
    """Above and below the layer with the adapter: the gradient passes through the one that is read
    in for the forward pass and gone for the backward."""
    whole = adapted(base, [1])
    for away in (["model.layers.0", "model.embed_tokens"], ["lm_head"]):
        model = on_disk(base, tmp_path / away[0], *away, layers=[1])
        assert any(p.is_meta for p in model.parameters())
        task, rows = tasks.CausalLM(tokenizer).for_model(model), eight_mixed(make_rows("llama"))
        assert worst_error(model, task, rows) < 1e-5
        assert error(alone(model, task, rows), alone(whole, task, rows)) < 1e-5
        stores = [
            collect(m, rows, task, out=tmp_path / f"{away[0]}-{i}")
            for i, m in enumerate((whole, model))
        ]
        assert stores[0].index.fingerprints == stores[1].index.fingerprints


def test_an_adapter_on_the_disk_stops_before_any_work(base, tokenizer, tmp_path):
    model = on_disk(base, tmp_path / "away", "model.layers.1", layers=[1])
    # Adapters that are loaded, or dispatched with their layer, are away like it.
    for name, parameter in list(model.named_parameters()):
        if "layers.1" in name and "lora_" in name:
            holder, _, local = name.rpartition(".")
            away = torch.nn.Parameter(torch.empty_like(parameter, device="meta"))
            setattr(model.get_submodule(holder), local, away)
    with pytest.raises(ModelError, match=r"layers\.1\.self_attn\.q_proj.* is not in memory"):
        select(model)
    with pytest.raises(ModelError, match="is not in memory") as caught:
        collect(model, make_rows("llama"), tasks.CausalLM(tokenizer), out=tmp_path / "store")
    assert "device_map" in caught.value.remedy
    assert not (tmp_path / "store").exists()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs")
def test_two_gpus(base, tokenizer, tmp_path):
    places: dict[str, Any] = dict.fromkeys(PARTS, 0)
    places |= dict.fromkeys(("model.layers.1", "model.norm", "lm_head"), 1)
    model, whole = adapted(base, device_map=places), adapted(base)
    assert len({p.device for p in select(model).values()}) == 2
    task, rows = tasks.CausalLM(tokenizer).for_model(model), eight_mixed(make_rows("llama"))
    assert worst_error(model, task, rows) < 1e-4
    truth = alone(whole, task, rows)
    found = {name: g.cpu() for name, g in alone(model, task, rows).items()}
    assert error(found, truth) < 1e-3
    store = collect(model, rows, task, out=tmp_path / "store")
    other = collect(whole, rows, task, out=tmp_path / "other")
    assert store.index.fingerprints == other.index.fingerprints
