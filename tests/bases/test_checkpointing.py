"""Gradient checkpointing: the same gradients, and the model as it was."""

from __future__ import annotations

import peft
import pytest
import torch
from torch import nn

from close import alone, batched, eight_mixed, error
from conftest import make_model, make_rows
from datainf import tasks
from datainf.gradients.collect import collect
from datainf.gradients.evaluating import evaluating
from support import BASES, build, eight


def state_of(model: nn.Module) -> list:
    """What a run might leave behind: modes, hooks, forwards of an object's own, switches."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return [
        (
            module.training,
            *(len(getattr(module, name)) for name in hooks),
            "forward" in vars(module),
            getattr(module, "gradient_checkpointing", None),
            getattr(getattr(module, "config", None), "use_cache", None),
        )
        for module in model.modules()
    ]


def switch_on(model: nn.Module, way: str) -> None:
    if way == "kbit":
        peft.prepare_model_for_kbit_training(model)
        for name, parameter in model.named_parameters():  # which it freezes
            parameter.requires_grad_("lora_" in name)
    else:
        reentrant = {"use_reentrant": way == "reentrant"}
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=reentrant)
        model.enable_input_require_grads()


@pytest.mark.parametrize("way", ["reentrant", "not reentrant", "kbit"])
@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
def test_transformers(name, mode, way, tokenizer):
    model = make_model(name)
    kind = tasks.SequenceClassification if name == "bert" else tasks.CausalLM
    task, rows = kind(tokenizer).for_model(model), eight_mixed(make_rows(name))
    if way == "kbit" and name == "bert":
        model.classifier.requires_grad_(False)
    truth = alone(model, task, rows)
    switch_on(model, way)
    model.train(mode)
    before = state_of(model)
    chosen = {n for n, p in model.named_parameters() if p.requires_grad}
    for size in (1, 8):
        found = batched(model, task, rows, size)
        assert error(found, {n: truth[n] for n in chosen}) < 1e-5
    assert state_of(model) == before


@pytest.mark.parametrize("name", ["t5", "vit"])
def test_further_families(name):
    base = BASES[name]
    model = build("LoRA", base)
    task, rows = base.fit(model), eight_mixed(base.rows())
    truth = alone(model, task, rows)
    switch_on(model, "not reentrant")
    model.train()
    assert error(batched(model, task, rows, 3), truth) < 1e-5


def test_full_fine_tuning(tokenizer):
    model = make_model("llama").unload()
    model.requires_grad_(True)
    task, rows = tasks.CausalLM(tokenizer).for_model(model), eight_mixed(make_rows("llama"))
    truth = alone(model, task, rows)
    switch_on(model, "reentrant")
    model.train()
    assert error(batched(model, task, rows, 3), truth) < 1e-5


@pytest.mark.parametrize("name", ["unet", "dit"])
def test_diffusers(name):
    base = BASES[name]
    model = build("LoRA", base)
    task, rows = base.fit(model), eight(base.rows())[:4]
    truth = alone(model, task, rows)
    model.get_base_model().enable_gradient_checkpointing()
    before = state_of(model)
    assert error(batched(model, task, rows, 3), truth) < 2e-5  # as it is without
    assert state_of(model) == before


def test_a_layer_is_computed_again(tokenizer, tmp_path):
    """In evaluation mode, where transformers would not: memory is saved as in training."""
    model = make_model("llama")
    task, rows = tasks.CausalLM(tokenizer).for_model(model), make_rows("llama")
    layer, ran = model.base_model.model.model.layers[1], []
    layer.mlp.register_forward_pre_hook(lambda *_: ran.append(torch.is_grad_enabled()))
    with evaluating(model):
        task.losses(model, task.collate(rows)).sum().backward()
    assert ran == [True]
    switch_on(model, "not reentrant")
    ran.clear()
    with evaluating(model):
        task.losses(model, task.collate(rows)).sum().backward()
    assert ran == [True, True]
    collect(model, rows, task, out=tmp_path / "store")
