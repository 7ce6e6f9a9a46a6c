"""Pretraining of the small UNet: pictures in other looks and places, with captions that say so.

It sees motifs that no task uses, never as they were drawn: recoloured, grey, negative, blurred, on
other backgrounds, turned and moved. So it knows what the words of a prompt mean, and has still to
learn the styles and any one subject.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from diffusers.training_utils import EMAModel
from PIL import Image

from experiments.images.looks import BACKGROUNDS, LOOKS, cut_out, moved, on, seen_as
from experiments.images.small_pipeline import UNetSize, new_unet, small_pipeline
from experiments.images.training import After, Steps, encode, say_nothing, train

UNTOLD = 0.1
"""Share of pictures whose caption is left empty, for classifier-free guidance."""


@dataclass(frozen=True)
class Pretraining:
    """A UNet of some size, trained on as many pictures; an exponential mean of its weights is
    what is kept."""

    size: UNetSize
    scenes: int
    steps: Steps
    mean_decay: float = 0.995
    seed: int = 0


AS_COMMITTED = Pretraining(
    size=UNetSize(pixels=32, channels=(48, 96)),
    scenes=6_000,
    steps=Steps(count=1800, batch=32, learning_rate=1.5e-3, warmup=60),
)
"""How the base of the desk scale was made."""


def pretrain(
    subjects: Sequence[tuple[Image.Image, str]],
    settings: Pretraining,
    after: After = say_nothing,
) -> diffusers.UNet2DConditionModel:
    """A UNet trained on pictures on white and what they are called."""
    torch.manual_seed(settings.seed)
    unet = new_unet(settings.size)
    pipeline = small_pipeline(unet)
    draw = random.Random(settings.seed)
    examples = encode(
        pipeline, [scene(*draw.choice(subjects), draw) for _ in range(settings.scenes)]
    )
    mean = EMAModel(unet.parameters(), decay=settings.mean_decay)

    def step(number: int, loss: float) -> None:
        mean.step(unet.parameters())
        after(number, loss)

    train(unet.train(), pipeline.scheduler, examples, unet.parameters(), settings.steps, step)
    mean.copy_to(unet.parameters())
    return unet.eval()


def scene(picture: Image.Image, caption: str, draw: random.Random) -> dict[str, Any]:
    """A row of the pretraining: a picture in some look, half of the time elsewhere in the frame,
    half of the time on a colour."""
    look = draw.choice(sorted(LOOKS))
    subject = seen_as(cut_out(picture), look, draw)
    if draw.random() < 0.5:
        subject = moved(subject, draw)
    background = draw.choice(sorted(BACKGROUNDS)) if draw.random() < 0.5 else "white"
    where = "" if background == "white" else f" on a {background} background"
    text = draw.choice(
        [
            f"Generate an image in a specific {look} style. {caption}{where}",
            f"A {look} picture of {caption}{where}",
            f"{caption}{where}",
        ]
    )
    return {"image": on(subject, background), "text": "" if draw.random() < UNTOLD else text}
