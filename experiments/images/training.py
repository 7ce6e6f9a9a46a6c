"""The usual training of a denoiser: a random timestep and random noise for every picture.

Pictures and captions pass the VAE and the text encoder once, before the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from datainf.tasks import TextToImage
from experiments.images.sizes import Steps

ENCODED_AT_ONCE = 64

After = Callable[[int, float], None]
"""Told the number of every step and its loss."""

TARGETS: dict[str, Callable[[Any, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda _scheduler, _x, noise, _t: noise,
    "v_prediction": lambda scheduler, x, noise, t: scheduler.get_velocity(x, noise, t),
}
"""What a denoiser learns to predict, of scheduler, latents, noise and timesteps."""


def say_nothing(_step: int, _loss: float) -> None:
    pass


@dataclass(frozen=True)
class Encoded:
    """latents [n, C, h, w] and the captions' text [captions, tokens, width], of which picture i
    has number `caption[i]`: few captions are of many pictures."""

    latents: Tensor
    text: Tensor
    caption: Tensor

    def __len__(self) -> int:
        return len(self.latents)


def encode(pipeline: Any, rows: Sequence[Mapping[str, Any]]) -> Encoded:
    """Rows with `image` and `text`, ready for `train`."""
    captions = sorted({row["text"] for row in rows})
    number = {caption: i for i, caption in enumerate(captions)}
    return Encoded(
        encode_images(pipeline, rows),
        encode_texts(pipeline, captions).half(),
        torch.tensor([number[row["text"]] for row in rows]),
    )


@torch.no_grad()
def encode_images(pipeline: Any, rows: Sequence[Mapping[str, Any]]) -> Tensor:
    """What the denoiser denoises, [n, C, h, w]."""
    task, vae, found = TextToImage(pipeline), pipeline.vae, []
    for start in range(0, len(rows), ENCODED_AT_ONCE):
        pixels = task.collate(rows[start : start + ENCODED_AT_ONCE])["pixel_values"]
        latents = vae.encode(pixels.to(pipeline.unet.device, vae.dtype)).latent_dist.mode()
        found.append(latents.float() * vae.config.scaling_factor)
    return torch.cat(found)


@torch.no_grad()
def encode_texts(pipeline: Any, texts: Sequence[str]) -> Tensor:
    """What the denoiser is told, [n, tokens, width]."""
    return torch.cat(
        [
            pipeline.encode_prompt(
                list(texts[start : start + ENCODED_AT_ONCE]), pipeline.unet.device, 1, False
            )[0].float()
            for start in range(0, len(texts), ENCODED_AT_ONCE)
        ]
    )


def train(
    unet: nn.Module,
    scheduler: Any,
    examples: Encoded,
    learned: Iterable[nn.Parameter],
    steps: Steps,
    after: After = say_nothing,
) -> None:
    """Train the parameters `learned`; deterministic given `steps.seed`."""
    target_of = TARGETS[scheduler.config.prediction_type]
    learned = list(learned)
    optimizer = torch.optim.AdamW(learned, lr=steps.learning_rate)
    rate = transformers.get_cosine_schedule_with_warmup(optimizer, steps.warmup, steps.count)
    generator = torch.Generator().manual_seed(steps.seed)
    timesteps = scheduler.config.num_train_timesteps
    device = examples.latents.device
    for step, chosen in enumerate(_batches(len(examples), steps, generator)):
        x = examples.latents[chosen]
        noise = torch.randn(x.shape, generator=generator).to(device)
        t = torch.randint(timesteps, (len(chosen),), generator=generator).to(device)
        text = examples.text[examples.caption[chosen]].float()
        predicted = unet(scheduler.add_noise(x, noise, t), t, text).sample
        loss = F.mse_loss(predicted, target_of(scheduler, x, noise, t))
        loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no types
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
        after(step, loss.item())


def _batches(n: int, steps: Steps, generator: torch.Generator) -> Iterable[Tensor]:
    """`steps.count` batches of positions; every epoch in an order of its own."""
    waiting = torch.empty(0, dtype=torch.long)
    for _ in range(steps.count):
        while len(waiting) < steps.batch:
            waiting = torch.cat([waiting, torch.randperm(n, generator=generator)])
        yield waiting[: steps.batch]
        waiting = waiting[steps.batch :]
