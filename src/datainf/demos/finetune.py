"""LoRA fine-tuning of a causal LM on prompt + completion rows, small enough for a demo.

A real project would use TRL's SFTTrainer; the loss here is the same, the completion's tokens only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
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


def finetune(
    base: str,
    train_file: Path,
    out: Path,
    *,
    epochs: int = 1,
    learning_rate: float = 3e-3,
    batch_size: int = 30,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Fine-tune and save an adapter at `out`.

    Args:
        base: Folder or hub id of a causal LM.
        train_file: JSON lines with prompt and completion.
        epochs, learning_rate, batch_size: Of AdamW, with a cosine schedule; the defaults suit the
            tiny base (a large model wants about 3e-4). One epoch, because each class still has
            something to teach then: at the end of a long training the gradients of a class sum
            to nearly nothing, so that half of its examples score as harmful to their own kind.
        seed: Of the adapter's start and the order of the rows.
        progress: Called with (steps done, steps in all).
    """
    torch.manual_seed(seed)
    tokenizer = load_tokenizer(base, None)
    task = CausalLM(tokenizer)
    model = _with_adapter(base)
    encoded = [task.encode(row) for row in read_rows(train_file)]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=learning_rate, weight_decay=0.0)
    steps = epochs * -(-len(encoded) // batch_size)
    schedule = transformers.get_cosine_schedule_with_warmup(optimizer, steps // 10, steps)
    model.train()
    done = 0
    for _ in range(epochs):
        for positions in torch.split(torch.randperm(len(encoded)), batch_size):
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


def generate(base: str, adapter: Path, prompts: Sequence[str], max_new_tokens: int) -> list[str]:
    """What the tuned model says to each prompt, greedily."""
    tokenizer = load_tokenizer(base, None)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(model, str(adapter)).eval()
    said = []
    for prompt in prompts:
        inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        ids = model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        new = ids[0, inputs["input_ids"].shape[1] :]
        said.append(str(tokenizer.decode(new, skip_special_tokens=True)))
    return said


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
