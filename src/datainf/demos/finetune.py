"""LoRA fine-tuning of a causal LM on prompt + completion rows, small enough for a demo.

A real project would use TRL's SFTTrainer; the loss here is the same, the completion's tokens only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from datainf.models import load_tokenizer
from datainf.tasks import CausalLM

RANK = 8
TARGETS = ("q_proj", "v_proj")
LOSS_BATCH = 25


@dataclass(frozen=True)
class Tuning:
    """How to fine-tune: AdamW with a cosine schedule."""

    epochs: int
    learning_rate: float
    batch_size: int = 30


def finetune(
    base: str,
    train_file: Path,
    out: Path,
    tuning: Tuning,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Fine-tune and save an adapter at `out`.

    Args:
        base: Folder or hub id of a causal LM.
        train_file: JSON lines with prompt and completion.
        tuning: Epochs, learning rate, batch size.
        seed: Of the adapter's start and the order of the rows.
        progress: Called with (steps done, steps in all).
    """
    torch.manual_seed(seed)
    tokenizer = load_tokenizer(base, None)
    task = CausalLM(tokenizer)
    model = _with_adapter(base)
    encoded = [task.encode(row) for row in read_rows(train_file)]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=tuning.learning_rate, weight_decay=0.0)
    steps = tuning.epochs * -(-len(encoded) // tuning.batch_size)
    schedule = transformers.get_cosine_schedule_with_warmup(optimizer, steps // 10, steps)
    model.train()
    done = 0
    for _ in range(tuning.epochs):
        for positions in torch.split(torch.randperm(len(encoded)), tuning.batch_size):
            losses = task.losses(model, task.collate([encoded[p] for p in positions]))
            torch.autograd.backward(losses.mean())
            torch.nn.utils.clip_grad_norm_(trainable, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            done += 1
            if progress is not None:
                progress(done, steps)
    model.save_pretrained(out)
    return out


def mean_loss(base: str, data: Path) -> float:
    """The base's own mean loss over the rows of a file, before any fine-tuning."""
    task = CausalLM(load_tokenizer(base, None))
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    losses = []
    with torch.no_grad():
        for start in range(0, len(rows := read_rows(data)), LOSS_BATCH):
            batch = task.collate([task.encode(row) for row in rows[start : start + LOSS_BATCH]])
            losses.append(task.losses(model, batch))
    return float(torch.cat(losses).mean())


def read_rows(data: Path) -> list[dict[str, Any]]:
    """The rows of a JSON lines file."""
    return [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]


def _with_adapter(base: str) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    named = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    # Models that name their projections otherwise (GPT-2's c_attn): peft knows them.
    targets = list(TARGETS) if set(TARGETS) <= named else None
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=RANK, lora_alpha=4 * RANK, target_modules=targets
    )
    return peft.get_peft_model(model, config)
