"""The pipeline that is fine-tuned: small and pretrained here, or one from the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch

from datainf.tasks.pipeline_parts import networks
from experiments.images.data import for_base
from experiments.images.pretraining import pretrain
from experiments.images.settings import ImageSettings
from experiments.images.small_pipeline import small_pipeline
from experiments.shipped import location

FOLDER = Path(location("bases:unet"))
MADE_HERE = "base"


def load_base(settings: ImageSettings, folder: Path) -> Any:
    """A frozen pipeline in float32. One that is pretrained in the cell is kept in `folder`, and
    found there the next time."""
    here = folder / MADE_HERE
    if settings.base is None and not here.exists():
        _pretrain(settings, here)
    place = str(here) if settings.base is None else location(settings.base)
    if (Path(place) / "config.json").is_file():  # a UNet alone
        unet = diffusers.UNet2DConditionModel.from_pretrained(place, torch_dtype=torch.float32)
        pipeline = small_pipeline(unet)
    else:
        pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
            place, safety_checker=None, requires_safety_checker=False, torch_dtype=torch.float32
        )
    for network in networks(pipeline).values():
        network.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(settings.device)


def _pretrain(settings: ImageSettings, folder: Path) -> None:
    if settings.pretraining is None:
        raise ValueError("neither a base nor how to pretrain one")
    motifs = for_base(settings.source, settings.data)
    subjects = [
        (motif.picture(style), motif.caption) for motif in motifs for style in motif.pictures
    ]
    pretrain(subjects, settings.pretraining).save_pretrained(folder)
