"""Layers by tensors' names: none that are two are taken for one, and they come in order."""

from __future__ import annotations

import pytest
import torch

from conftest import make_model
from datainf.explanations import Explanation
from datainf.report.layers import Layers, place_of
from datainf.report.statistics import KINDS_SHOWN, tensor_shares
from tiny_models import tiny_lora

LORA = "lora_A.default.weight"
UNET = "attentions.{}.transformer_blocks.{}.attn1.to_q"
NAMES = {
    "Llama": (
        [f"base_model.model.model.layers.{i}.self_attn.q_proj" for i in (0, 2, 10)],
        ["0 · self_attn.q_proj", "2 · self_attn.q_proj", "10 · self_attn.q_proj"],
    ),
    "BERT": (
        ["base_model.model.bert.encoder.layer.1.attention.self.query"],
        ["1 · attention.self.query"],
    ),
    "GPT-2": (["base_model.model.transformer.h.1.attn.c_attn"], ["1 · attn.c_attn"]),
    "T5": (
        [f"base_model.model.{stack}.layer.{j}.{kind}Attention.q" for stack, j, kind in (
            ("encoder.block.0", 0, "Self"), ("encoder.block.1", 0, "Self"),
            ("decoder.block.0", 0, "Self"), ("decoder.block.0", 1, "EncDec"))],
        ["encoder 0 · SelfAttention.q", "encoder 1 · SelfAttention.q",
         "decoder 0 · SelfAttention.q", "decoder 0 · EncDecAttention.q"],
    ),
    "BART": (
        [f"base_model.model.model.{stack}.layers.0.self_attn.q_proj"
         for stack in ("encoder", "decoder")],
        ["encoder 0 · self_attn.q_proj", "decoder 0 · self_attn.q_proj"],
    ),
    "ViT": (
        ["base_model.model.vit.encoder.layer.0.attention.attention.query",
         "base_model.model.vit.encoder.layer.1.output.dense"],
        ["0 · attention.attention.query", "1 · output.dense"],
    ),
    "UNet": (
        [f"base_model.model.{block}.{UNET.format(i, j)}" for block, i, j in (
            ("down_blocks.0", 0, 0), ("down_blocks.0", 1, 0), ("down_blocks.1", 0, 0),
            ("mid_block", 0, 0), ("up_blocks.1", 0, 0), ("up_blocks.1", 2, 0))],
        [f"{layer} · attn1.to_q"
         for layer in ("down 0.0", "down 0.1", "down 1.0", "mid 0", "up 1.0", "up 1.2")],
    ),
    "SD3": (
        [f"base_model.model.transformer_blocks.{i}.attn.to_q" for i in (0, 1)],
        ["0 · attn.to_q", "1 · attn.to_q"],
    ),
    "Flux": (
        [f"base_model.model.{kind}transformer_blocks.{i}.attn.to_q"
         for kind in ("", "single_") for i in (0, 1)],
        [f"{kind}transformer {i} · attn.to_q" for kind in ("", "single ") for i in (0, 1)],
    ),
    "a picture's tower beside a text's": (
        ["base_model.model.model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj",
         "base_model.model.model.language_model.layers.0.self_attn.q_proj"],
        ["vision tower 0 · self_attn.q_proj", "language model 0 · self_attn.q_proj"],
    ),
    "a text encoder beside a UNet": (
        ["text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
         "unet.down_blocks.0.attentions.0.proj_in", "unet.up_blocks.0.attentions.0.proj_in"],
        ["text encoder 0 · self_attn.q_proj", "unet down 0.0 · proj_in", "unet up 0.0 · proj_in"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", NAMES)
def test_a_tensor_s_layer_and_what_it_is_there(model):
    names, shown = NAMES[model]
    found = Layers([f"{name}.{LORA}" for name in names])
    assert found.shown() == [f"{text}.lora_A" for text in shown]
    assert found.order == list(dict.fromkeys(text.partition(" · ")[0] for text in shown))


def test_layers_come_as_the_model_runs_them():
    """diffusers has the middle of a UNet behind what goes up; some stores have 10 before 2."""
    blocks = ["down_blocks.1", "up_blocks.0", "mid_block"]
    names = [f"{block}.{UNET.format(0, 0)}.{LORA}" for block in blocks]
    names += [f"down_blocks.1.downsamplers.0.conv.{LORA}", f"conv_in.{LORA}"]
    assert Layers(names).order == ["down 1.0", "down 1", "mid 0", "up 0.0", "other"]
    assert Layers([f"model.layers.{i}.up.{LORA}" for i in (0, 10, 2)]).order == ["0", "2", "10"]


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "t5", "bart", "vit"])
def test_of_real_models(name):
    model = tiny_lora(name) if name in ("t5", "bart", "vit") else make_model(name)
    layers = Layers([name for name, p in model.named_parameters() if p.requires_grad])
    numbered = [layer for layer in layers.order if layer != "other"]
    two = name in ("t5", "bart")
    assert numbered == (
        [f"{stack} {i}" for stack in ("encoder", "decoder") for i in (0, 1)] if two else ["0", "1"]
    )
    assert ("other" in layers.order) == (name in ("bert", "vit"))  # their heads
    assert not any(part.isdecimal() for kind in layers.kind for part in kind.split("."))


@pytest.mark.parametrize("name", ["", ".", "mid_block", "layers.0", "a.mid_block.layers", "h.1.h.2",
                                  "layers.x.layers.3.q", "3.blocks.4.5.blocks"])  # fmt: skip
def test_any_name_has_a_place(name):
    assert place_of(name).rest is not None
    assert Layers([name, "layers.0.q", name]).shown()


def test_shares_lose_nothing():
    names = [f"encoder.layers.{i}.module{j}.weight" for i in range(2) for j in range(30)]
    names += ["decoder.layers.0.module0.weight", "head.weight"]
    parts = torch.arange(1, len(names) + 1, dtype=torch.float64)
    parts[::2] *= -1
    found = tensor_shares({(0, 0): Explanation(parts), (0, 1): Explanation(-parts)}, Layers(names))
    total = float(parts.abs().sum())
    assert [layer for layer, _ in found["layers"]] == ["encoder 0", "encoder 1", "decoder 0",
                                                       "other"]  # fmt: skip
    assert dict(found["layers"])["decoder 0"] == pytest.approx(61 / total, rel=1e-5)
    assert len(found["kinds"]) == KINDS_SHOWN + 1
    assert found["kinds"][0] == ("module0", pytest.approx((1 + 31 + 61) / total, rel=1e-5))
    assert found["kinds"][-1][0] == "and 7 more"
    for entries in found.values():
        assert sum(share for _, share in entries) == pytest.approx(1, abs=1e-5)
    assert tensor_shares({}, Layers(names)) is None
