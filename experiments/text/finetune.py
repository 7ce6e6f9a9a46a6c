"""LoRA fine-tuning of a causal language model by transformers' Trainer, on completions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import peft
import torch
import transformers

from datainf.tasks import CausalLM
from experiments.shipped import location
from experiments.text.data import Row
from experiments.text.settings import TextSettings


def load_base(settings: TextSettings) -> tuple[transformers.PreTrainedModel, CausalLM]:
    """The base, frozen, and the task whose loss is the completion's."""
    where = location(settings.base)
    quantised = transformers.BitsAndBytesConfig(load_in_8bit=True) if settings.eight_bit else None
    model = transformers.AutoModelForCausalLM.from_pretrained(
        where, dtype=getattr(torch, settings.dtype), quantization_config=quantised,
        device_map="auto" if settings.eight_bit else None,
    )  # fmt: skip
    tokenizer = transformers.AutoTokenizer.from_pretrained(where)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, CausalLM(tokenizer, settings.max_length).for_model(model)


def with_adapter(base: transformers.PreTrainedModel, settings: TextSettings) -> peft.PeftModel:
    """A LoRA that changes nothing yet."""
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=settings.rank, lora_alpha=settings.alpha,
        lora_dropout=settings.lora_dropout, target_modules=list(settings.targets),
    )  # fmt: skip
    return peft.get_peft_model(base, config)


def train(
    model: peft.PeftModel,
    task: CausalLM,
    rows: Sequence[Row],
    settings: TextSettings,
    seed: int,
    folder: Path,
) -> Path:
    """Fine-tune the adapter in place; returns the adapter saved half way."""
    steps = settings.epochs * -(-len(rows) // settings.batch)
    middle = max(1, steps // 2)
    arguments = transformers.TrainingArguments(
        str(folder), num_train_epochs=settings.epochs, seed=seed,
        per_device_train_batch_size=settings.batch, learning_rate=settings.learning_rate,
        lr_scheduler_type="linear", warmup_steps=round(settings.warmup * steps),
        save_strategy="steps", save_steps=middle, save_only_model=True, report_to=[],
        logging_strategy="no", disable_tqdm=True, remove_unused_columns=False,
        use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    encoded = [task.encode(row) for row in rows]
    trainer = transformers.Trainer(model, arguments, task.collate, train_dataset=encoded)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    model.eval()
    return folder / f"checkpoint-{middle}"


def load_adapter(model: peft.PeftModel, saved: Path) -> None:
    """Put saved weights in the place of the adapter's."""
    state = peft.load_peft_weights(str(saved), device="cpu")
    peft.set_peft_model_state_dict(model, state)
