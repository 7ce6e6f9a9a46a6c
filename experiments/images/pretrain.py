"""Pretrain the UNet of the desk scale, once, for all seeds of both tasks.

    python -m experiments.images.pretrain --data FOLDER      # about 45 minutes of one core

It sees 540 emoji that no task uses, never as they were drawn: recoloured, grey, negative, blurred,
on other backgrounds, turned and moved, with captions that say so. So it knows what the words of a
prompt mean, and has still to learn the three styles and any one subject. `openmoji_black` is left
out, so that the weights may be passed on (see the README beside them).
"""

from __future__ import annotations

import argparse
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.training_utils import EMAModel
from PIL import Image

from experiments.images.data import for_base
from experiments.images.looks import BACKGROUNDS, LOOKS, cut_out, moved, on, seen_as
from experiments.images.small_pipeline import UNetSize, new_unet, small_pipeline
from experiments.images.training import Steps, encode, train

BASE = Path(__file__).parent.parent / "bases" / "unet"
SEEN = ("twemoji", "noto")
UNTOLD = 0.1
"""Share of pictures whose caption is left empty, for classifier-free guidance."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pretraining:
    """Of the weights an exponential mean is kept."""

    size: UNetSize = UNetSize()
    scenes: int = 10_000
    steps: Steps = Steps(count=2500, batch=32, learning_rate=1e-3, warmup=100)
    mean_decay: float = 0.995
    seed: int = 0


def pretrain(
    subjects: Sequence[tuple[Image.Image, str]],
    settings: Pretraining,
    after: Callable[[int, float], None] = lambda step, loss: None,
) -> diffusers.UNet2DConditionModel:
    """A UNet trained on pictures on white and what they are called."""
    torch.manual_seed(settings.seed)
    unet = new_unet(settings.size)
    pipeline = small_pipeline(unet)
    draw = random.Random(settings.seed)
    examples = encode(pipeline, [scene(*draw.choice(subjects), draw) for _ in range(settings.scenes)])
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="with metadata.jsonl and pictures")
    parser.add_argument("--out", type=Path, default=BASE)
    parser.add_argument("--steps", type=int, default=Pretraining.steps.count)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    emoji = for_base("emoji", options.data)
    subjects = [(one.picture(style), one.caption) for one in emoji for style in SEEN]
    log.info("%d pictures of %d emoji", len(subjects), len(emoji))
    count = options.steps
    settings = Pretraining(steps=Steps(count, batch=32, learning_rate=1e-3, warmup=100))
    started, losses = time.perf_counter(), []

    def say(step: int, loss: float) -> None:
        losses.append(loss)
        if (step + 1) % 50 == 0:
            mean = sum(losses[-50:]) / 50
            log.info("step %d of %d, loss %.4f", step + 1, count, mean)

    unet = pretrain(subjects, settings, say)
    unet.half().save_pretrained(options.out)
    log.info("%s: %.0f s", options.out, time.perf_counter() - started)


if __name__ == "__main__":
    main()
