"""Llama's shapes with random bfloat16 weights, LoRA of rank 8 on queries and values in float32,
examples of 512 random tokens, as many in a batch as the probe allows. The plain pass is what a step
of training computes: forward and backward of the mean loss of the same batches.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from torch import nn

import datainf
from benchmarks import random_tokens
from benchmarks.gpu.passes import PLAIN, WAYS, passes, probed
from benchmarks.gpu.watched import ROUNDS, gib
from benchmarks.scale import Shape
from benchmarks.timing import median_of, timed
from benchmarks.works import Work
from datainf.gradients.collector import max_rows
from datainf.tasks import CausalLM


@dataclass(frozen=True)
class Size:
    """A Llama, and how much of it is done: rows in each round, rows collected and those in a shard,
    rows one by one, and further budgets, in tokens a batch."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    vocabulary: int = 32000
    length: int = 512
    rows: int = 32
    collected: int = 96
    shard: int = 32
    alone: int = 8
    budgets: tuple[int, ...] = (2048, 8192)


FULL = {
    "llama7b": Size(4096, 11008, 32, 32),
    "llama13b": Size(5120, 13824, 40, 40, collected=64, budgets=()),
}
TOY = Size(
    32, 48, 2, 2, vocabulary=200, length=16, rows=4, collected=6, shard=2, alone=2, budgets=(32,)
)
STORES: dict[str, dict[str, Any]] = {"bfloat16": {"dtype": "bfloat16"}, "1/64": {"project": 64}}
KEPT, RECOMPUTED = "kept", "computed again"
"""What becomes of activations: gradient checkpointing is off, or on."""


def make_model(size: Size, device: torch.device) -> peft.PeftModel:
    """Its weights are drawn in bfloat16, on the device, and stay there."""
    torch.manual_seed(0)
    shape = transformers.LlamaConfig(
        hidden_size=size.hidden, intermediate_size=size.intermediate,
        num_hidden_layers=size.layers, num_attention_heads=size.heads,
        num_key_value_heads=size.heads, vocab_size=size.vocabulary, max_position_embeddings=4096,
        tie_word_embeddings=False, attn_implementation="sdpa",
    )  # fmt: skip
    with device:
        base = transformers.AutoModelForCausalLM.from_config(shape, dtype=torch.bfloat16)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"],
        init_lora_weights=False,
    )  # fmt: skip
    return peft.get_peft_model(base.requires_grad_(False), config).eval()


def run(size: Size, device: torch.device, folder: Path) -> Iterator[dict[str, Any]]:
    """What is found, each time that there is more of it."""
    model = make_model(size, device)
    work = made_work(model, size, size.rows)
    found: dict[str, Any] = about(model, size)
    for activations in (KEPT, RECOMPUTED):
        if activations == RECOMPUTED:
            model.gradient_checkpointing_enable()
        budget = probed(work, folder)
        found[activations] = {"budget": budget, **passes(work, budget, device, size.alone)}
        yield found
    for budget in size.budgets:
        found.setdefault("budgets", {})[str(budget)] = passes(work, budget, device)
        yield found
    model.gradient_checkpointing_disable()
    for store, options in STORES.items():
        found.setdefault("stores", {})[store] = collected(model, size, folder, options)
        yield found


def made_work(model: nn.Module, size: Size, count: int) -> Work:
    rows = random_tokens.rows(count, size.length, size.vocabulary)
    return Work("Llama", model, CausalLM(random_tokens.tokenizer()), rows)


def about(model: nn.Module, size: Size) -> dict[str, Any]:
    """Parameters, the adapter's, and what a pass of one example takes in FLOP."""
    adapter = sum(p.numel() for p in model.parameters() if p.requires_grad)
    everything = sum(p.numel() for p in model.parameters())
    passed = everything - adapter - size.hidden * size.vocabulary  # embeddings are looked up
    shape = Shape(passed, size.layers, size.hidden, tokens=size.length)
    return {
        "parameters": everything, "adapter": adapter, "length": size.length, "rows": size.rows,
        "collected": size.collected, "flops": shape.pass_flops,
    }  # fmt: skip


@dataclass
class Stages:
    """When each stage of a collection began."""

    began: dict[str, float] = field(default_factory=dict)

    def stage(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:  # noqa: ARG002
        self.began[what] = time.perf_counter()
        return lambda _: None


def collected(
    model: nn.Module, size: Size, folder: Path, options: dict[str, Any]
) -> dict[str, Any]:
    """Seconds of a plain pass over the rows in a collection's batches; in turn with it of a whole
    collection, and of that from the first batch to the last row on the disk; bytes a row."""
    work, found = made_work(model, size, size.collected), []
    row_bytes = 4 * sum(p.numel() for p in model.parameters() if p.requires_grad)
    most = max_rows(row_bytes, next(model.parameters()).device)
    batches = work.batches(probed(work, folder), most, size.shard)
    for _ in range(ROUNDS + 1):  # the first warms up
        plain = timed(lambda: waited_for(work.plain_pass, batches))
        stages, started = Stages(), time.perf_counter()
        store = datainf.collect(
            work.model, work.rows, work.task, out=folder / "store", sample=False,
            shard_rows=size.shard, progress=stages, **options,
        )  # fmt: skip
        ended = time.perf_counter()
        gradients = ended - stages.began["gradients"]
        found.append({"plain": plain, "whole": ended - started, "gradients": gradients})
        shutil.rmtree(folder / "store")
    return {"row_bytes": store.index.row_bytes, **median_of(found[1:])}


def waited_for(run: Callable[..., object], *arguments: object) -> None:
    run(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def lines(found: dict[str, Any]) -> list[str]:
    table = [
        f"{found['parameters'] / 1e9:.2f} billion parameters, {found['adapter']:,} of them the "
        f"adapter's; {found['flops'] / 1e12:.1f} TFLOP a pass of one example of "
        f"{found['length']} tokens.",
        "",
        "| activations | tokens a batch | way | examples/s | tokens/s | TFLOP/s | speed ÷ plain "
        "pass | peak, GiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for activations in (KEPT, RECOMPUTED):
        if one := found.get(activations):
            table += _of_passes(found, activations, one["budget"], one)
    for budget, one in found.get("budgets", {}).items():
        table += _of_passes(found, RECOMPUTED, int(budget), one)
    return [*table, *_of_stores(found)]


def _of_passes(found: dict[str, Any], activations: str, budget: int, one: Any) -> list[str]:
    plain, table = one[PLAIN], []
    for name in (name for name in WAYS if name in one):
        head = f"| {activations} | {budget:,} ({one['batch']} examples) | {WAYS[name]} |"
        if one[name] is None:
            table.append(f"{head} memory is too small | | | | |")
            continue
        rate = found["rows"] / one[name]["seconds"]
        ratio = f"{plain['seconds'] / one[name]['seconds']:.2f}" if plain else ""
        table.append(
            f"{head} {rate:.1f} | {rate * found['length']:,.0f} "
            f"| {rate * found['flops'] / 1e12:,.0f} | {ratio} | {gib(one[name]['peak'])} |"
        )
    if one["fallback"]:
        table.append("| | | examples had to be taken alone | | | | | |")
    return table


def _of_stores(found: dict[str, Any]) -> list[str]:
    if "stores" not in found:
        return []
    table = [
        "",
        f"`collect` of {found['collected']} examples to disk, activations kept:",
        "",
        "| store | bytes a row | whole, s | from the first batch on, s | examples/s then | speed ÷ "
        "plain pass |",
        "|---|---|---|---|---|---|",
    ]
    for store, one in found["stores"].items():
        rate = found["collected"] / one["gradients"]
        ratio = f"{one['plain'] / one['gradients']:.2f}"
        table.append(
            f"| {store} | {one['row_bytes']:,} | {one['whole']:.1f} | {one['gradients']:.1f} "
            f"| {rate:.1f} | {ratio} |"
        )
    return table
