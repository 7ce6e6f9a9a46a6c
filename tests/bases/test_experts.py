"""Mixtures of experts whose weights are one tensor for all experts."""

from __future__ import annotations

import peft
import pytest
import torch
import transformers
from torch import nn

from close import eight_mixed, worst_error, worst_error_run_again
from conftest import KV, SMALL
from datainf import tasks
from datainf.gradients.engine import FallbackWarning, PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from support import CPU, make_moe, texts


def mixtral() -> nn.Module:
    torch.manual_seed(0)
    settings = SMALL | KV | {"num_local_experts": 4, "num_experts_per_tok": 2}
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**settings))


MODELS = {"Qwen3-MoE": make_moe, "Mixtral": mixtral}


def with_lora(model: nn.Module, parameters: list[str], modules: list[str]) -> nn.Module:
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules=modules, target_parameters=parameters,
        init_lora_weights=False,
    )  # fmt: skip
    return peft.get_peft_model(model, config)


def task_and_rows(model: nn.Module, tokenizer) -> tuple[tasks.Task, list]:
    return tasks.CausalLM(tokenizer).for_model(model), eight_mixed(texts())


def routes(model: nn.Module, tokenizer) -> list[torch.Tensor]:
    """How many tokens of each row each expert of the first layer gets."""
    task, rows = task_and_rows(model, tokenizer)
    seen: list[torch.Tensor] = []
    gate = next(m for name, m in model.named_modules() if name.endswith("layers.0.mlp.gate"))
    handle = gate.register_forward_hook(lambda *call: seen.append(call[2][-1]))
    with evaluating(model), torch.no_grad():
        for row in rows:
            task.losses(model, task.collate([row]))
    handle.remove()
    return [torch.bincount(chosen.flatten(), minlength=4) for chosen in seen]


@pytest.mark.xfail(
    torch.__version__ < "2.10", raises=FallbackWarning, strict=False,
    reason="vmap does not follow the experts there, which are taken alone, and say so",
)  # fmt: skip
@pytest.mark.parametrize("name", MODELS)
def test_attention_and_everything(name, tokenizer):
    counts = torch.stack(routes(MODELS[name](), tokenizer)).double()
    shares = counts / counts.sum(dim=1, keepdim=True)
    assert float(shares.std(dim=0).max()) > 0.02  # rows are routed differently
    adapted = with_lora(MODELS[name](), [], ["q_proj", "v_proj"])
    assert worst_error(adapted, *task_and_rows(adapted, tokenizer)) < 2e-5
    whole = MODELS[name]().eval()
    assert any("experts" in name for name in select(whole))
    assert any("gate.weight" in name for name in select(whole))
    assert worst_error(whole, *task_and_rows(whole, tokenizer)) < 2e-5


TARGETS = {
    "one tensor": ["mlp.experts.gate_up_proj"],
    "two tensors": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
    "the router": ["mlp.gate.weight"],
}


@pytest.mark.parametrize("parameters", TARGETS.values(), ids=TARGETS)
def test_lora_on_parameters(parameters, tokenizer):
    """peft replaces the tensor itself for each forward: the block of experts runs again, row by
    row, and the rest of the model goes in batches."""
    model = with_lora(make_moe(), parameters, ["q_proj"])
    task, rows = task_and_rows(model, tokenizer)
    chosen = select(model)
    assert any("q_proj.lora_A" in name for name in chosen)
    assert worst_error_run_again(model, task, rows, "SparseMoeBlock") < 2e-5


def test_an_expert_that_no_token_takes_has_no_gradient(tokenizer):
    model = make_moe().eval()
    task, rows = task_and_rows(model, tokenizer)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.gate.weight.zero_()  # all tie, and the first two are taken
    chosen = {n: p for n, p in select(model).items() if n.endswith("experts.down_proj")}
    engine = PerExample(model, chosen, task, CPU, fallback=False)
    with evaluating(model):
        engine.check(rows[:3])
        found = engine(rows).gradients
    for name, gradient in found.items():
        by_expert = gradient.reshape(8, *chosen[name].shape).flatten(2).norm(dim=2)
        taken = by_expert > 0
        assert taken.sum(dim=1).tolist() == [2] * 8
