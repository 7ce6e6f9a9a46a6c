"""Gradients of QLoRA on a Llama-shaped base of over a billion parameters. Writes
benchmarks/qlora.md where there is a GPU.

The base has random weights, which are made and packed to 4 bits layer by layer on the device:
nothing is downloaded and no unpacked copy of the whole is ever held. Time and memory are those of
real weights; what the scores say of random ones means nothing.

    python -m benchmarks.qlora                                  # on a GPU
    python -m benchmarks.qlora --layers 2 --hidden 64 --examples 8 --longest 64     # anywhere
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import bitsandbytes
import peft
import torch
import transformers
from torch import nn

from benchmarks.machine import describe_machine
from benchmarks.random_tokens import tokenizer
from datainf import attribute, collect, tasks
from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.gradients.verify import each_alone

CHECKED = 3
"""Examples whose gradients are compared with autograd's."""
QUERIES = 4


@dataclass(frozen=True)
class Result:
    """seconds: of collecting, of scoring; peak: bytes on the GPU, None elsewhere; error: the worst
    of an example's whole gradient relative to its norm, 3 examples, batch beside autograd alone."""

    parameters: int
    tokens: int
    collected: float
    scored: float
    peak: int | None
    error: float
    alone: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--shortest", type=int, default=128, help="tokens; default: 128")
    parser.add_argument("--longest", type=int, default=512, help="tokens; default: 512")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--checkpointing", action="store_true")
    options = parser.parse_args()
    options.shortest = min(options.shortest, options.longest)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = with_adapter(make_base(options.layers, options.hidden, device))
    if options.checkpointing:
        model.gradient_checkpointing_enable()
    result = measure(model, examples_of(options), options.batch_tokens, device)
    text = report(options, result, device)
    print(text)
    if device.type == "cuda":
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def shape(layers: int, hidden: int) -> transformers.LlamaConfig:
    """TinyLlama's by default, 1.1 billion parameters."""
    return transformers.LlamaConfig(
        hidden_size=hidden, intermediate_size=hidden * 11 // 4, num_hidden_layers=layers,
        num_attention_heads=hidden // 64 or 1, num_key_value_heads=max(1, hidden // 512),
        vocab_size=32000, max_position_embeddings=2048, tie_word_embeddings=False,
        attn_implementation="sdpa",
    )  # fmt: skip


def make_base(layers: int, hidden: int, device: torch.device) -> nn.Module:
    """A Llama of random weights, its linear layers in nf4 with bfloat16 computation."""
    torch.manual_seed(0)
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(shape(layers, hidden)).to(torch.bfloat16)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name != "lm_head":
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, packed(module, device))
    for module in model.modules():
        fill(module, device)
    model.is_loaded_in_4bit = True  # as a load with a quantization_config says
    return model.eval().requires_grad_(False)


def packed(layer: nn.Linear, device: torch.device) -> nn.Module:
    """A 4-bit layer of the same shape with random weights, which moving to a device packs."""
    made = bitsandbytes.nn.Linear4bit(
        layer.in_features, layer.out_features, bias=False, compute_dtype=torch.bfloat16,
        compress_statistics=True, quant_type="nf4", device="meta",
    )  # fmt: skip
    weight = 0.02 * torch.randn(layer.out_features, layer.in_features, device=device)
    made.weight = bitsandbytes.nn.Params4bit(
        weight.to(torch.bfloat16), requires_grad=False, compress_statistics=True,
        quant_type="nf4", module=made,
    )  # fmt: skip
    return made.to(device)


def fill(module: nn.Module, device: torch.device) -> None:
    """Values for what is still on the meta device: embeddings, norms, rotary frequencies."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        if parameter.is_meta:
            value = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
            value = value.normal_(0, 0.02) if value.dim() > 1 else value.fill_(1)
            setattr(module, name, nn.Parameter(value, requires_grad=False))
    if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
        fresh = type(module)(module.config).to(device)  # the rotary embedding computes its own
        for name, buffer in fresh.named_buffers(recurse=False):
            module.register_buffer(name, buffer, persistent=False)


def with_adapter(model: nn.Module) -> peft.PeftModel:
    """LoRA of rank 8 on queries and values, both factors random."""
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"],
        init_lora_weights=False,
    )  # fmt: skip
    return peft.get_peft_model(model, config)


def examples_of(options: argparse.Namespace) -> list[dict[str, list[int]]]:
    """Random tokens of lengths between the shortest and the longest, the first half prompt."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(options.examples):
        between = (options.shortest, options.longest + 1)
        length = int(torch.randint(*between, (), generator=generator))
        tokens = torch.randint(3, 32000, (length,), generator=generator).tolist()
        labels = [-100] * (length // 2) + tokens[length // 2 :]
        rows.append({"input_ids": tokens, "labels": labels})
    return rows


def measure(
    model: peft.PeftModel, rows: list[dict], batch_tokens: int, device: torch.device
) -> Result:
    task = tasks.CausalLM(tokenizer()).for_model(model)
    error, alone = check(model, task, rows[:CHECKED], device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        store = collect(model, rows, task, out=f"{folder}/train", batch_tokens=batch_tokens)
        collected = time.perf_counter() - started
        peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
        queries = collect(model, rows[:QUERIES], task, out=f"{folder}/query",
                          batch_tokens=batch_tokens)  # fmt: skip
        started = time.perf_counter()
        scores = attribute(store, queries, "datainf")
        scored = time.perf_counter() - started
    assert scores.values.shape == (QUERIES, len(rows))
    assert bool(torch.isfinite(scores.values).all())
    return Result(
        count(model), sum(len(row["input_ids"]) for row in rows), collected, scored, peak, error,
        alone,
    )  # fmt: skip


def check(
    model: peft.PeftModel, task: tasks.Task, rows: list[dict], device: torch.device
) -> tuple[float, bool]:
    """The worst error of an example's whole gradient; whether examples had to be taken alone."""
    chosen = select(model)
    engine = PerExample(model, chosen, task, device)
    encoded = [task.encode(row) for row in rows]
    with evaluating(model):
        engine.check(encoded)
        truth = each_alone(model, chosen, task, encoded, device).gradients
        found = engine(encoded).gradients
    right = torch.cat([*truth.values()], dim=1)
    apart = torch.cat([found[name] for name in truth], dim=1) - right
    return float((apart.norm(dim=1) / right.norm(dim=1)).max()), engine.alone


def count(model: nn.Module) -> int:
    """Parameters, those in 4 bits counted one by one."""
    return sum(
        2 * p.numel() * p.element_size() if p.dtype == torch.uint8 else p.numel()
        for p in model.parameters()
    )


def report(options: argparse.Namespace, result: Result, device: torch.device) -> str:
    where = torch.cuda.get_device_name() if device.type == "cuda" else "the CPU"
    memory = "not measured" if result.peak is None else f"{result.peak / 2**30:.2f} GiB"
    way = "each example alone (the fallback)" if result.alone else "in batches"
    return f"""# QLoRA

A Llama of {result.parameters / 1e9:.2f} billion random parameters ({options.layers} layers of
width {options.hidden}), its linear layers in nf4 with double quantisation and bfloat16
computation; LoRA of rank 8 on queries and values, in float32.
{options.examples} examples of {options.shortest} to {options.longest} tokens, batches of at most
{options.batch_tokens} tokens, gradient checkpointing {"on" if options.checkpointing else "off"}.

| | |
|---|---|
| gradients taken | {way} |
| worst error of {CHECKED} examples, batch beside autograd alone | {result.error:.1e} |
| collecting {result.tokens} tokens | {result.collected:.1f} s, {result.tokens / result.collected:.0f} tokens/s |
| peak memory | {memory} |
| scoring {QUERIES} queries with DataInf | {result.scored:.1f} s |

On {where}, bitsandbytes {bitsandbytes.__version__}; {describe_machine()}
"""  # noqa: E501


if __name__ == "__main__":
    main()
