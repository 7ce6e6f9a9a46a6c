"""A tensor with two uses is one block, whose gradient sums both; so is a module that runs twice."""

from __future__ import annotations

import peft
import pytest
import torch
import transformers
from torch import nn

from close import alone, batched, eight_mixed, error, worst_error
from conftest import KV, SMALL, make_base, make_model, make_rows
from datainf import tasks
from datainf.gradients.parameters import blocks_of, select
from support import BASES


def tied(name: str) -> tuple[nn.Module, tasks.Task, list, str]:
    """A model whose output shares the embedding's weight, a task, rows and the weight's name."""
    base = BASES.get(name, BASES["llama"])
    torch.manual_seed(0)
    if name == "llama":
        config = transformers.LlamaConfig(**SMALL, **KV, tie_word_embeddings=True)
        model = transformers.LlamaForCausalLM(config)
    else:
        model = base.make()
    model.eval()
    shared = model.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is shared
    name = next(n for n, p in model.named_parameters() if p is shared)
    return model, base.fit(model), eight_mixed(base.rows()), name


@pytest.mark.parametrize("name", ["llama", "gpt2", "bart"])
def test_tied_weights_under_full_fine_tuning(name):
    model, task, rows, shared = tied(name)
    assert len({id(p) for p in select(model).values()}) == len(select(model))
    assert worst_error(model, task, rows) < 1e-5
    # Both uses count: with the embedding's tokens cut off, what the output adds remains.
    whole = alone(model, task, rows)[shared]
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.weight is model.get_parameter(shared):
            module.register_forward_hook(lambda *call: call[2].detach())
    of_output = alone(model, task, rows)[shared]
    assert float((whole - of_output).norm(dim=1).min()) > 1e-3 * float(whole.norm())
    assert float(of_output.norm(dim=1).min()) > 1e-3 * float(whole.norm())


def test_a_tied_output_with_an_adapter(tokenizer):
    """peft's LoRA on the embedding alone, the output tied to what it wraps."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SMALL, **KV, tie_word_embeddings=True)
    model = peft.get_peft_model(
        transformers.LlamaForCausalLM(config),
        peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["embed_tokens", "q_proj"],
                        init_lora_weights=False),
    )  # fmt: skip
    task, rows = tasks.CausalLM(tokenizer).for_model(model), eight_mixed(make_rows("llama"))
    assert worst_error(model, task, rows) < 1e-5


def albert() -> nn.Module:
    """A real architecture whose two layers are one module."""
    torch.manual_seed(0)
    config = transformers.AlbertConfig(**SMALL, embedding_size=8, num_labels=3)
    return transformers.AlbertForSequenceClassification(config)


@pytest.mark.parametrize("kind", ["LoRA", "DoRA", "IA³", "full"])
def test_albert_runs_its_layer_twice(kind, tokenizer):
    model = albert()
    task = tasks.SequenceClassification(tokenizer).for_model(model)
    rows = eight_mixed(make_rows("bert"))
    where: dict = {"task_type": "SEQ_CLS", "target_modules": ["query", "value"]}
    if kind == "IA³":
        model = peft.get_peft_model(model, peft.IA3Config(**where, feedforward_modules=[]))
    elif kind != "full":
        config = peft.LoraConfig(**where, r=2, use_dora=kind == "DoRA", init_lora_weights=False)
        model = peft.get_peft_model(model, config)
    calls = []
    model.get_submodule(next(n for n, _ in model.named_modules() if n.endswith("attention"))) \
        .register_forward_hook(lambda *_: calls.append(1))  # fmt: skip
    model.eval()
    model(input_ids=torch.tensor([[5, 6, 7]]))
    assert len(calls) == 2
    assert worst_error(model, task, rows) < 1e-5


def test_layers_that_are_one_module(tokenizer):
    """One object at two places in a list is one module with one name."""
    model = make_base("llama")
    model.model.layers[1] = model.model.layers[0]
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], init_lora_weights=False
    )
    model = peft.get_peft_model(model, config)
    task, rows = tasks.CausalLM(tokenizer).for_model(model), eight_mixed(make_rows("llama"))
    assert len(blocks_of(model, select(model))) == 2
    assert worst_error(model, task, rows) < 1e-5


def test_dora_calls_its_own_layers_for_their_norm(tokenizer):
    """DoRA multiplies its factors by an identity first, whose rows are no examples."""
    model = make_model("llama", use_dora=True)
    task, rows = tasks.CausalLM(tokenizer).for_model(model), eight_mixed(make_rows("llama"))
    truth = alone(model, task, rows)
    for size in (1, 3, 8):
        found = batched(model, task, rows, size)
        assert any("magnitude" in name for name in found)
        assert error(found, truth) < 1e-5
