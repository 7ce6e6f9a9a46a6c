"""LoRA fine-tuning of a pipeline's UNet, as diffusers' train_text_to_image_lora.py has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import peft
import torch

from datainf.tasks import TextToImage
from experiments.images.settings import Tuning
from experiments.images.tasks import Row
from experiments.images.training import ENCODED_AT_ONCE, encode, train

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def finetune(pipeline: Any, rows: Sequence[Row], tuning: Tuning, seed: int) -> None:
    """Add an adapter to the pipeline's UNet and train it; it alone requires gradients then."""
    torch.manual_seed(seed)
    unet = pipeline.unet
    unet.add_adapter(
        peft.LoraConfig(
            r=tuning.rank, lora_alpha=tuning.rank, target_modules=TARGETS,
            init_lora_weights="gaussian",
        )
    )  # fmt: skip
    learned = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    steps = replace(tuning.steps, seed=seed)
    train(unet.train(), pipeline.scheduler, encode(pipeline, rows), learned, steps)
    unet.eval()


@torch.no_grad()
def mean_loss(pipeline: Any, rows: Sequence[Row], timesteps: tuple[int, ...]) -> float:
    """Mean over rows and timesteps, of the same noise for all: comparable before and after."""
    task = TextToImage(pipeline, timesteps=timesteps)
    at_once = max(1, ENCODED_AT_ONCE // len(timesteps))
    parts = [
        task.losses(pipeline.unet, task.collate(rows[start : start + at_once]))
        for start in range(0, len(rows), at_once)
    ]
    return float(torch.cat(parts).mean())
