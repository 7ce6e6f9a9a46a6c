"""Does the model do the task? Greedy completions, compared with the right ones letter by letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from datainf.gradients.evaluating import evaluating
from datainf.tasks import CausalLM
from experiments.text.data import Row

BATCH = 100


def completions(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]
) -> list[str]:
    """What the model says to each row's prompt, without white space around it; at most as many
    tokens as the longest right completion and its end take."""
    limit = 1 + max(len(tokenizer(row["completion"])["input_ids"]) for row in rows)
    device = next(model.parameters()).device
    said = []
    training = model.training
    model.eval()
    for start in range(0, len(rows), BATCH):
        prompts = [row["prompt"] for row in rows[start : start + BATCH]]
        inputs = tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt")
        with torch.no_grad():
            ids = cast(Any, model).generate(  # which not every module has
                input_ids=inputs["input_ids"].to(device),
                attention_mask=inputs["attention_mask"].to(device),
                max_new_tokens=limit, do_sample=False, num_beams=1,
                pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
        new = ids[:, inputs["input_ids"].shape[1] :]
        said += [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]
    model.train(training)
    return said


def quality(model: nn.Module, task: CausalLM, rows: Sequence[Row]) -> dict[str, object]:
    """Exact matches, overall and by class; mean loss of the completions, nats a token.

    `any_class` is the share that matches the completion of some row with the same phrase: where
    the prompt does not say which transformation is meant, no model can do better than that.
    """
    said = completions(model, task.tokenizer, rows)
    right = [text == row["completion"].strip() for text, row in zip(said, rows, strict=True)]
    by_class: dict[str, list[bool]] = {}
    allowed: dict[str, set[str]] = {}
    for row, hit in zip(rows, right, strict=True):
        by_class.setdefault(row["class"], []).append(hit)
        allowed.setdefault(_asked(row), set()).add(row["completion"].strip())
    any_class = [text in allowed[_asked(row)] for text, row in zip(said, rows, strict=True)]
    return {
        "accuracy": sum(right) / len(right),
        "by_class": {name: sum(hits) / len(hits) for name, hits in by_class.items()},
        "any_class": sum(any_class) / len(any_class),
        "loss": mean_loss(model, task, rows),
    }


def _asked(row: Row) -> str:
    """What rows with the same phrase have in common; a row without one is alone."""
    own: str = row["id"]
    asked: str = row.get("phrase", own)
    return asked


def mean_loss(model: nn.Module, task: CausalLM, rows: Sequence[Row]) -> float:
    """Mean over the rows of their losses."""
    device = next(model.parameters()).device
    losses = []
    with evaluating(model), torch.no_grad():
        for start in range(0, len(rows), BATCH // 2):
            batch = task.collate(rows[start : start + BATCH // 2])
            losses.append(task.losses(model, {k: v.to(device) for k, v in batch.items()}))
    return float(torch.cat(losses).mean())
