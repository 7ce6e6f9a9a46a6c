"""Quantised bases on a CPU: LoRA's gradients, and the base as it was."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from close import alone, eight_mixed, error, worst_error, worst_error_run_again
from conftest import make_base, make_rows
from datainf import tasks
from datainf.gradients import precision
from datainf.gradients.collect import collect
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import weights
from datainf.store import GradientStore

pytestmark = pytest.mark.filterwarnings("ignore")
BNB, AO, QUANTO = "bitsandbytes", "torchao", "optimum.quanto"
FLOAT32, BFLOAT16, FLOAT16 = torch.float32, torch.bfloat16, torch.float16


def four_bits(kind: str, compute: torch.dtype, *, double: bool) -> Callable[[], Any]:
    return lambda: transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_compute_dtype=compute,
        bnb_4bit_use_double_quant=double,
    )  # fmt: skip


def eight_bits_of_torchao() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig

    return transformers.TorchAoConfig(Int8WeightOnlyConfig())


WAYS: dict[str, tuple[str, Callable[[], Any], torch.dtype, float]] = {
    "nf4, doubly": (BNB, four_bits("nf4", FLOAT32, double=True), FLOAT32, 5e-5),
    "fp4": (BNB, four_bits("fp4", FLOAT32, double=False), FLOAT32, 5e-5),
    "nf4 in bfloat16": (BNB, four_bits("nf4", BFLOAT16, double=True), BFLOAT16, 0.1),
    "nf4 in float16": (BNB, four_bits("nf4", FLOAT16, double=True), FLOAT16, 0.02),
    "LLM.int8": (BNB, lambda: transformers.BitsAndBytesConfig(load_in_8bit=True), FLOAT32, 0.1),
    "torchao int8": (AO, eight_bits_of_torchao, FLOAT32, 1e-4),
    "quanto int8": (QUANTO, lambda: transformers.QuantoConfig(weights="int8"), FLOAT32, 5e-5),
}
"""The package, its configuration, the dtype of all else, and how near a batch is to its examples
alone: as near as that dtype allows; torchao adds up in another order for more rows; LLM.int8 rounds
its inputs as well, in float16."""


def has(package: str) -> bool:
    return all(
        importlib.util.find_spec(".".join(package.split(".")[: i + 1])) is not None
        for i in range(package.count(".") + 1)
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    settings = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2}
    make_base("llama", **settings).save_pretrained(folder)
    return folder


def load(base: Path, way: str) -> transformers.PreTrainedModel:
    package, configure, dtype, _ = WAYS[way]
    if not has(package):
        pytest.skip(f"{package} is not installed")
    return transformers.LlamaForCausalLM.from_pretrained(
        base, quantization_config=configure(), device_map="cpu", dtype=dtype
    )


def adapted(base: Path, way: str, kind: str = "LoRA") -> peft.PeftModel:
    where: dict[str, Any] = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"]}
    torch.manual_seed(0)
    if kind == "AdaLoRA":
        config: Any = peft.AdaLoraConfig(**where, init_r=2, target_r=1, total_step=10)
    elif kind == "IA³":
        config = peft.IA3Config(**where, feedforward_modules=[])
    else:
        config = peft.LoraConfig(**where, r=2, use_dora=kind == "DoRA", init_lora_weights=False)
    model = peft.get_peft_model(load(base, way), config)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def values(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: copy.deepcopy(value.detach()) for name, value in weights(model, replaced=True)}


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    if type(first) not in (torch.Tensor, torch.nn.Parameter) and hasattr(first, "dequantize"):
        first, second = first.dequantize(), second.dequantize()
    return torch.equal(first, second)


@pytest.mark.parametrize("way", WAYS)
def test_lora_on_a_quantised_base(way, base, tokenizer, tmp_path):
    model = adapted(base, way)
    task, rows = tasks.CausalLM(tokenizer).for_model(model), eight_mixed(make_rows("llama"))
    before = values(model)
    assert worst_error(model, task, rows) < WAYS[way][-1]
    store = collect(model, rows, task, out=tmp_path / "store")
    after = values(model)
    assert after.keys() == before.keys()
    assert all(same(after[name], value) for name, value in before.items())
    # Loaded anew, as by another process, it is the same model: the store is resumed, not refused.
    again = collect(adapted(base, way), rows, task, out=tmp_path / "store")
    assert again.index.fingerprints == store.index.fingerprints
    assert len(GradientStore.open(tmp_path / "store")) == 8


@pytest.mark.parametrize("kind", ["AdaLoRA", "IA³"])
def test_further_adapters_on_four_bits(kind, base, tokenizer):
    model = adapted(base, "nf4, doubly", kind)
    task, rows = tasks.CausalLM(tokenizer).for_model(model), eight_mixed(make_rows("llama"))
    assert worst_error(model, task, rows) < 1e-4  # AdaLoRA multiplies by numbers near to zero


def test_dora_on_four_bits(base, tokenizer):
    """It unpacks the weights for their norm, where vmap cannot follow."""
    model = adapted(base, "nf4, doubly", "DoRA")
    task, rows = tasks.CausalLM(tokenizer).for_model(model), eight_mixed(make_rows("llama"))
    assert worst_error_run_again(model, task, rows, "DoraLinearLayer") < 5e-5


def test_prepared_for_training(base, tokenizer):
    """As QLoRA's recipe has it: what is not packed goes to float32, while the packed layers still
    compute in bfloat16 and round to it."""
    model = load(base, "nf4 in bfloat16")
    model = peft.prepare_model_for_kbit_training(model)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False
    )
    model = peft.get_peft_model(model, config)
    assert {p.dtype for p in model.parameters()} == {FLOAT32, torch.uint8}
    assert precision.tolerance_of(model) == precision.TOLERANCE[BFLOAT16]
    task, rows = tasks.CausalLM(tokenizer).for_model(model), eight_mixed(make_rows("llama"))
    assert worst_error(model, task, rows) < 0.1


def test_packed_layers_that_compute_in_float16_have_the_loss_scaled(base):
    model = load(base, "nf4 in float16")
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.float()
    assert torch.float16 not in {p.dtype for p in model.parameters()}
    assert precision.loss_scales(model) == precision.LOSS_SCALES


def test_four_bits_are_not_packed_again(base, tokenizer):
    """In evaluation mode bitsandbytes repacks weights in place where the CPU has AVX512-BF16."""
    if not has(BNB):
        pytest.skip("bitsandbytes is not installed")
    from bitsandbytes import functional

    if not functional.has_avx512bf16():
        pytest.skip("the CPU has no AVX512-BF16")
    model = adapted(base, "nf4 in bfloat16")
    task, rows = tasks.CausalLM(tokenizer).for_model(model), make_rows("llama")
    batch, before = task.collate(rows), values(model)
    truth = alone(model, task, rows)
    with evaluating(model), torch.no_grad():
        task.losses(model, batch)
    assert all(torch.equal(value, before[name]) for name, value in values(model).items())
    assert error(alone(model, task, rows), truth) == 0
