"""The work that every tool is given: a small Llama with a LoRA, and sequences of random tokens.

Imports nothing but torch, transformers and peft, which every tool's environment has. What the
scores say of random weights and tokens means nothing; what they cost does not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator

import peft
import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

VOCABULARY, SHORTEST, LONGEST, BATCH = 2000, 32, 128, 32
NONE = -100
"""The label of a token that is not predicted: padding here."""
Row = list[int]
Batch = dict[str, Tensor]


def make_model() -> peft.PeftModel:
    """Six layers of width 256 under a LoRA of rank 8 on queries and values, 49,152 parameters in
    24 matrices, none of them zero; float32, the same weights at every call."""
    torch.manual_seed(0)
    shape = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=688, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=LONGEST,
        use_cache=False,
    )  # fmt: skip
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=8, lora_alpha=8, lora_dropout=0.0,
        target_modules=["q_proj", "v_proj"], init_lora_weights=False,
    )  # fmt: skip
    return peft.get_peft_model(transformers.LlamaForCausalLM(shape), config).eval()


def adapter_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """The LoRA's parameters by name, whether or not they ask for gradients now."""
    return {name: value for name, value in model.named_parameters() if "lora_" in name}


def make_rows(count: int, seed: int) -> list[Row]:
    """Sequences of random tokens, the shortest first, so that batches of any tool hardly pad."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (count,), generator=generator).tolist()
    drawn = (torch.randint(VOCABULARY, (length,), generator=generator) for length in lengths)
    return sorted((tokens.tolist() for tokens in drawn), key=len)


def padded(rows: list[Row]) -> Batch:
    """`input_ids`, `attention_mask` and `labels`, [rows, longest], padded at the right."""
    longest = max(map(len, rows))
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full_like(tokens, NONE)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = labels[i, : len(row)] = torch.tensor(row)
    return {"input_ids": tokens, "attention_mask": (labels != NONE).long(), "labels": labels}


def batches(rows: list[Row], size: int = BATCH) -> Iterator[Batch]:
    for start in range(0, len(rows), size):
        yield padded(rows[start : start + size])


def losses_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Each sequence's mean loss over its predicted tokens, [rows]."""
    aims = labels[:, 1:]
    each = cross_entropy(
        logits[:, :-1].flatten(0, 1), aims.flatten(), reduction="none", ignore_index=NONE
    ).view(aims.shape)
    return each.sum(dim=1) / (aims != NONE).sum(dim=1)


def losses(model: nn.Module, batch: Batch) -> Tensor:
    found = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return losses_of(found.logits, batch["labels"])


def floor(model: nn.Module, rows: list[Row]) -> None:
    """A plain forward and backward pass over the rows, what a step of training computes: no
    influence of each of them is had for less."""
    adapter = list(adapter_of(model).values())
    for batch in batches(rows):
        torch.autograd.grad(losses(model, batch).mean(), adapter)
