"""A pipeline and its adapter, from folders: they fit, or the run stops."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import peft
import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.training_utils import _collate_lora_metadata
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import nn

import datainf
from datainf.errors import ModelError
from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.models import PIPELINE_LORA as LORA_WEIGHTS
from datainf.pipelines import load_pipeline
from datainf.tasks import TextToImage
from tiny_pipelines import ATTENTION, PIXELS, TOKENS, denoiser_of, make_examples, make_pipeline

HERE = Path(__file__).parent
EXAMPLES = make_examples(3)


def lora(targets, **options):
    return peft.LoraConfig(
        r=2, lora_alpha=3, init_lora_weights=False, target_modules=targets, **options
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A Stable Diffusion pipeline and the LoRA of its UNet and text encoder, as diffusers' scripts
    save them; and what it computes."""
    folder = tmp_path_factory.mktemp("sd1")
    pipeline = make_pipeline("sd1")
    pipeline.save_pretrained(folder / "base")
    torch.manual_seed(3)
    pipeline.unet.add_adapter(lora([*ATTENTION, "conv1"]))
    peft.inject_adapter_in_model(lora(["q_proj", "v_proj"]), pipeline.text_encoder)
    for name, text in (("unet", False), ("both", True)):
        pipeline.save_lora_weights(
            folder / name,
            unet_lora_layers=get_peft_model_state_dict(pipeline.unet),
            text_encoder_lora_layers=get_peft_model_state_dict(pipeline.text_encoder)
            if text
            else None,
            **_collate_lora_metadata(
                {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder}
            ),
        )
    return folder, losses_of(pipeline, pipeline.unet)


def task_for(pipeline):
    return TextToImage(pipeline, timesteps=2, resolution=PIXELS, max_sequence_length=TOKENS)


def losses_of(pipeline, model):
    task = task_for(pipeline).for_model(model)
    with torch.no_grad(), evaluating(model):
        return task.losses(model, task.collate(EXAMPLES))


def test_lora_of_unet_and_text_encoder(saved):
    folder, losses = saved
    loaded = load_pipeline(str(folder / "base"), str(folder / "both"), device="cpu")
    assert isinstance(loaded.model, nn.ModuleDict)
    assert torch.allclose(losses_of(loaded.pipeline, loaded.model), losses, rtol=1e-5)
    chosen = select(loaded.model)
    assert len(chosen) == len(load_file(folder / "both" / LORA_WEIGHTS))
    assert {name.split(".")[0] for name in chosen} == {"unet", "text_encoder"}
    task = task_for(loaded.pipeline).for_model(loaded.model)
    with evaluating(loaded.model):
        capture = PerExample(loaded.model, chosen, task, torch.device("cpu"))
        assert capture.check(EXAMPLES).unused == []
    assert not capture.alone


def test_two_processes_collect_the_same_bytes(saved, tmp_path):
    folder, _ = saved
    code = """if True:
        import sys, torch, datainf
        from test_pipelines import EXAMPLES, task_for
        from datainf.pipelines import load_pipeline
        torch.manual_seed(int(sys.argv[3]))  # noise and timesteps do not hang on it
        base, adapter, out = f"{sys.argv[1]}/base", f"{sys.argv[1]}/unet", sys.argv[2]
        loaded = load_pipeline(base, adapter, device="cpu")
        datainf.collect(loaded.model, EXAMPLES, task_for(loaded.pipeline), out=out)
    """
    found = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        subprocess.run([sys.executable, "-c", code, folder, out, seed], check=True, cwd=HERE)
        store = datainf.GradientStore.open(out)
        found.append({name: block.to_dense() for name, block in store.blocks.items()})
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert sum(block.abs().sum() for block in found[0].values()) > 0


def test_lora_of_the_unet_alone(saved):
    folder, losses = saved
    loaded = load_pipeline(str(folder / "base"), str(folder / "unet"), device="cpu")
    assert loaded.model is loaded.pipeline.unet
    chosen = select(loaded.model)
    assert len(chosen) == len(load_file(folder / "unet" / LORA_WEIGHTS))
    assert all("lora_" in name for name in chosen)
    assert not torch.allclose(losses_of(loaded.pipeline, loaded.model), losses, rtol=1e-5)


def test_lora_that_diffusers_itself_loaded_is_what_is_selected(saved):
    folder, _ = saved
    pipeline = StableDiffusionPipeline.from_pretrained(folder / "base")
    pipeline.load_lora_weights(folder / "unet", weight_name=LORA_WEIGHTS)
    ours = load_pipeline(str(folder / "base"), str(folder / "unet"), device="cpu").model
    theirs = {
        name.replace(".default_0.", ".default."): p for name, p in select(pipeline.unet).items()
    }
    assert theirs.keys() == select(ours).keys()
    assert all(torch.equal(p, theirs[name]) for name, p in select(ours).items())


@pytest.mark.parametrize("name", ["sdxl", "sd3", "flux"])
def test_lora_of_other_families(name, tmp_path):
    pipeline = make_pipeline(name)
    pipeline.save_pretrained(tmp_path / "base")
    denoiser = denoiser_of(pipeline)
    torch.manual_seed(3)
    denoiser.add_adapter(lora(ATTENTION))
    part = "unet" if name == "sdxl" else "transformer"
    state = get_peft_model_state_dict(denoiser)
    metadata = _collate_lora_metadata({part: denoiser})
    pipeline.save_lora_weights(tmp_path / "lora", **{f"{part}_lora_layers": state}, **metadata)
    loaded = load_pipeline(str(tmp_path / "base"), str(tmp_path / "lora"), device="cpu")
    assert len(select(loaded.model)) == len(state)
    found = losses_of(loaded.pipeline, loaded.model)
    assert torch.allclose(found, losses_of(pipeline, denoiser), rtol=1e-5)


def test_a_peft_adapter_of_the_denoiser(saved, tmp_path):
    folder, _ = saved
    base = str(folder / "base")
    pipeline = load_pipeline(base, device="cpu").pipeline
    torch.manual_seed(3)
    model = peft.get_peft_model(pipeline.unet, lora(ATTENTION))
    model.save_pretrained(tmp_path / "adapter")
    loaded = load_pipeline(base, str(tmp_path / "adapter"), device="cpu")
    assert select(loaded.model).keys() == select(model).keys()
    found = losses_of(loaded.pipeline, loaded.model)
    assert torch.allclose(found, losses_of(pipeline, model), rtol=1e-5)


def test_a_whole_denoiser(saved):
    folder, _ = saved
    loaded = load_pipeline(str(folder / "base"), device="cpu", dtype="bfloat16")
    chosen = select(loaded.model)
    assert chosen.keys() == dict(loaded.pipeline.unet.named_parameters()).keys()
    assert {p.dtype for p in chosen.values()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in loaded.pipeline.vae.parameters())


def test_an_adapter_in_half_precision(saved, tmp_path):
    folder, losses = saved
    state = load_file(folder / "both" / LORA_WEIGHTS)
    half = {name: tensor.to(torch.bfloat16) for name, tensor in state.items()}
    save_file(half, tmp_path / LORA_WEIGHTS, metadata={"format": "pt"})
    loaded = load_pipeline(str(folder / "base"), str(tmp_path), device="cpu")
    assert torch.allclose(losses_of(loaded.pipeline, loaded.model), losses, rtol=0.05)


def test_tensors_without_a_place_are_an_error(saved, tmp_path):
    folder, _ = saved
    state = load_file(folder / "unet" / LORA_WEIGHTS)
    name = next(iter(state))
    stranger = "unet.down_blocks.7." + name.partition("down_blocks.")[2].partition(".")[2]
    more = state | {stranger: torch.ones_like(state[name])}
    save_file(more, tmp_path / LORA_WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="1 of its 81 tensors have no place"):
        load_pipeline(str(folder / "base"), str(tmp_path), device="cpu")


def test_an_adapter_that_lacks_tensors_is_an_error(saved, tmp_path):
    folder, _ = saved
    state = load_file(folder / "unet" / LORA_WEIGHTS)
    state.pop(next(name for name in state if "lora_B" in name or "lora.up" in name))
    save_file(state, tmp_path / LORA_WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="does not fit"):
        load_pipeline(str(folder / "base"), str(tmp_path), device="cpu")


def test_an_adapter_of_another_pipeline_is_an_error(saved, tmp_path):
    folder, _ = saved
    other = make_pipeline("sdxl")
    other.unet.add_adapter(lora(ATTENTION))
    layers = get_peft_model_state_dict(other.unet)
    other.save_lora_weights(tmp_path, unet_lora_layers=layers)
    with pytest.raises(ModelError, match="does not fit"):
        load_pipeline(str(folder / "base"), str(tmp_path), device="cpu")


def test_what_is_no_pipeline_is_an_error(saved, tmp_path):
    folder, _ = saved
    with pytest.raises(ModelError, match="cannot load a text-to-image pipeline"):
        load_pipeline(str(tmp_path), device="cpu")
    with pytest.raises(ModelError, match="cannot read LoRA weights"):
        load_pipeline(str(folder / "base"), str(tmp_path), device="cpu")
    (tmp_path / "adapter_config.json").write_text("{", encoding="utf-8")


def test_diffusers_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ModelError, match="needs diffusers") as caught:
        load_pipeline("somewhere", device="cpu")
    assert "datainf[diffusion]" in caught.value.remedy
