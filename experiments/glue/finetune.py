"""Fine-tuning of a classifier with an adapter by transformers' Trainer, and its accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from datainf.gradients.evaluating import evaluating
from datainf.tasks import SequenceClassification
from experiments.glue.data import Row
from experiments.glue.settings import GlueSettings
from experiments.shipped import location

Adapt = Callable[[nn.Module], nn.Module]
"""Puts an adapter into a base with a new head, and leaves nothing but the two to be trained."""


def load_base(
    settings: GlueSettings,
) -> tuple[transformers.PreTrainedModel, SequenceClassification]:
    """A base with a new head of two classes, and the task."""
    where = location(settings.base)
    dropout = {}
    if not settings.base_dropout:
        dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = AutoModelForSequenceClassification.from_pretrained(
        where, num_labels=2, dtype=getattr(torch, settings.dtype), **dropout
    )
    task = SequenceClassification(AutoTokenizer.from_pretrained(where), settings.max_length)
    return model, task.for_model(model)


def lora(settings: GlueSettings, rank: int) -> Adapt:
    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=rank, lora_alpha=rank, lora_dropout=settings.lora_dropout,
        target_modules=list(settings.targets), modules_to_save=["classifier"],
    )  # fmt: skip
    return partial(peft.get_peft_model, peft_config=config)


def _grouped() -> dict[str, Any]:
    """Batches of rows of like lengths, by the name that this transformers has for it."""
    if "train_sampling_strategy" in {f.name for f in fields(transformers.TrainingArguments)}:
        return {"train_sampling_strategy": "group_by_length"}
    return {"group_by_length": True}


def finetune(
    rows: Sequence[Row], settings: GlueSettings, adapter: Adapt, seed: int, folder: Path,
    callbacks: Sequence[transformers.TrainerCallback] = (),
) -> tuple[nn.Module, SequenceClassification]:  # fmt: skip
    """A fine-tuned model, in evaluation mode, and its task."""
    transformers.set_seed(seed)
    base, task = load_base(settings)
    model = adapter(base)
    steps = settings.epochs * -(-len(rows) // settings.batch)
    arguments = transformers.TrainingArguments(
        str(folder / "trainer"), num_train_epochs=settings.epochs, seed=seed,
        per_device_train_batch_size=settings.batch, learning_rate=settings.learning_rate,
        lr_scheduler_type="linear", warmup_steps=round(settings.warmup * steps),
        save_strategy="no", report_to=[], **_grouped(),
        logging_strategy="no", disable_tqdm=True, remove_unused_columns=False,
        use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    encoded = [task.encode(row) for row in rows]
    trainer = transformers.Trainer(
        model, arguments, task.collate, train_dataset=encoded, callbacks=list(callbacks)
    )
    trainer.train()
    return model.eval(), task


def evaluate(
    model: nn.Module, task: SequenceClassification, rows: Sequence[Row]
) -> dict[str, float]:
    """Accuracy, and mean cross-entropy in nats."""
    logits, labels = [], []
    device = next(model.parameters()).device
    order = sorted((task.encode(row) for row in rows), key=task.length)
    with evaluating(model), torch.no_grad():
        for start in range(0, len(order), 64):
            batch = {k: v.to(device) for k, v in task.collate(order[start : start + 64]).items()}
            labels.append(batch.pop("labels"))
            logits.append(model(**batch).logits.float())
    z, y = torch.cat(logits), torch.cat(labels)
    return {
        "accuracy": float((z.argmax(1) == y).float().mean()),
        "loss": float(cross_entropy(z, y)),
    }
