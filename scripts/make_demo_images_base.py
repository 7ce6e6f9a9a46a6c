"""src/datainf/demos/images_base: the small text-to-image pipeline that `datainf demo images` tunes.

    python scripts/make_demo_images_base.py --minutes 20

A Stable Diffusion of diffusers' own classes at 32 × 32 pixels, trained from nothing on shapes that
this script draws: six shapes in eight colours and two sizes, flat, outlined or striped, anywhere on
any background. No one else's pictures are in it. The VAE is trained first, then text encoder and
UNet together; all of it is stored in half precision.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from math import cos, pi, sin
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from PIL import Image, ImageChops, ImageDraw
from tokenizers import pre_tokenizers
from torch import Tensor

OUT = Path(__file__).parents[1] / "src" / "datainf" / "demos" / "images_base"
SIDE, DRAWN = 32, 128
TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 40}  # fmt: skip
COLOURS = {
    "red": (205, 50, 45), "orange": (240, 140, 30), "yellow": (240, 210, 50),
    "green": (50, 150, 70), "blue": (45, 95, 200), "purple": (130, 65, 170),
    "brown": (120, 75, 45), "grey": (130, 130, 130),
}  # fmt: skip
BACKGROUNDS = {"white": (255, 255, 255), "black": (20, 20, 20), **COLOURS}
SIZES = {"large": 52, "small": 30}


def corners(count: int, turn: float, inner: float = 1.0) -> list[tuple[float, float]]:
    """Of a regular polygon in the unit circle; every second one at `inner` of the radius."""
    return [
        (cos(turn + 2 * pi * i / count) * r, sin(turn + 2 * pi * i / count) * r)
        for i in range(count)
        for r in (inner if i % 2 else 1.0,)
    ]


SHAPES = {
    "triangle": corners(3, -pi / 2), "square": corners(4, pi / 4), "hexagon": corners(6, 0.0),
    "circle": corners(60, 0.0), "star": corners(10, -pi / 2, inner=0.45),
    "diamond": corners(4, 0.0),
}  # fmt: skip
LOOKS = ("flat", "outlined", "striped", "two-coloured")


def scene(draw: random.Random) -> tuple[Image.Image, str]:
    """A picture and its caption."""
    shape, size, look = (draw.choice(sorted(names)) for names in (SHAPES, SIZES, LOOKS))
    background = "white" if draw.random() < 0.6 else draw.choice(sorted(BACKGROUNDS))
    colour = draw.choice([name for name in COLOURS if name != background])
    radius = SIZES[size] * draw.uniform(0.85, 1.1)
    room = max(0.0, DRAWN / 2 - radius)
    x, y = (DRAWN / 2 + draw.uniform(-room, room) for _ in range(2))
    picture = Image.new("RGB", (DRAWN, DRAWN), BACKGROUNDS[background])
    outer = mask(shape, radius, x, y)
    if look == "outlined":
        outer = ImageChops.subtract(outer, mask(shape, radius - 9, x, y))
    elif look == "striped":
        stripes = Image.new("L", (DRAWN, DRAWN), 0)
        for top in range(0, DRAWN, 16):
            ImageDraw.Draw(stripes).rectangle((0, top, DRAWN, top + 8), fill=255)
        outer = ImageChops.multiply(outer, stripes)
    picture.paste(COLOURS[colour], (0, 0), outer)
    second = ""
    if look == "two-coloured":
        other = draw.choice([name for name in COLOURS if name not in (colour, background)])
        picture.paste(COLOURS[other], (0, 0), mask(shape, radius * 0.55, x, y))
        second = f" and {other}"
    where = "" if background == "white" else f" on {background}"
    caption = f"a {size} {look} {colour}{second} {shape}{where}"
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), caption


def mask(shape: str, radius: float, x: float, y: float) -> Image.Image:
    found = Image.new("L", (DRAWN, DRAWN), 0)
    points = [(x + dx * radius, y + dy * radius) for dx, dy in SHAPES[shape]]
    ImageDraw.Draw(found).polygon(points, fill=255)
    return found


def tokenizer() -> transformers.CLIPTokenizer:
    """CLIP's, with one token a byte, and one for each at the end of a word, and no merges."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=40)


def pipeline(seed: int) -> diffusers.StableDiffusionPipeline:
    """All parts, with random weights."""
    torch.manual_seed(seed)
    reader = tokenizer()
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            **TEXT, vocab_size=len(reader), bos_token_id=reader.bos_token_id,
            eos_token_id=reader.eos_token_id, pad_token_id=reader.pad_token_id,
        )
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        sample_size=SIDE, latent_channels=4, block_out_channels=(32, 48), layers_per_block=1,
        norm_num_groups=8, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, mid_block_add_attention=False,
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIDE // 2, in_channels=4, out_channels=4, block_out_channels=(32, 64),
        layers_per_block=1, norm_num_groups=8, attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT["hidden_size"],
    )  # fmt: skip
    noise = diffusers.DDPMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
        steps_offset=1,
    )
    found = diffusers.StableDiffusionPipeline(
        vae=vae, unet=unet, text_encoder=text, tokenizer=reader, scheduler=noise,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    found.set_progress_bar_config(disable=True)
    return found


def pixels(pictures: list[Image.Image]) -> Tensor:
    """[n, 3, SIDE, SIDE] in [-1, 1]."""
    stacked = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 127.5 - 1


def train_vae(vae: Any, images: Tensor, seconds: float) -> None:
    """Reconstruction, and a little pull of the latents towards a normal distribution."""
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3)
    started, step, mean = time.monotonic(), 0, 1.0
    while (share := (time.monotonic() - started) / seconds) < 1:
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, step / 50) * (1 - share) + 1e-5
        x = images[torch.randint(len(images), (16,))]
        latent = vae.encode(x).latent_dist
        back = vae.decode(latent.sample()).sample
        loss = F.mse_loss(back, x) + 0.5 * F.l1_loss(back, x) + 1e-4 * latent.kl().mean() / 1024
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step, mean = step + 1, 0.98 * mean + 0.02 * float(loss)
        if step % 100 == 0:
            print(f"vae {step}: {mean:.4f}", flush=True)


def train_denoiser(found: Any, images: Tensor, captions: list[str], seconds: float) -> None:
    """Text encoder and UNet, of latents of unit variance; an average of the weights is kept."""
    from diffusers.training_utils import EMAModel

    with torch.no_grad():
        latents = torch.cat([found.vae.encode(x).latent_dist.mode() for x in images.split(128)])
    found.vae.register_to_config(scaling_factor=float(1 / latents.std()))
    latents = latents * found.vae.config.scaling_factor
    ids = found.tokenizer(
        captions, padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    empty = found.tokenizer([""], padding="max_length", return_tensors="pt").input_ids[0]
    learned = [*found.unet.parameters(), *found.text_encoder.parameters()]
    optimizer, average = torch.optim.AdamW(learned, lr=2e-3), EMAModel(learned, decay=0.995)
    started, step, mean = time.monotonic(), 0, 1.0
    while (share := (time.monotonic() - started) / seconds) < 1:
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, step / 100) * (1 - share) + 1e-5
        rows = torch.randint(len(latents), (32,))
        told = ids[rows].clone()
        told[torch.rand(len(rows)) < 0.1] = empty
        x, noise = latents[rows], torch.randn(len(rows), *latents.shape[1:])
        t = torch.randint(1000, (len(rows),))
        predicted = found.unet(
            found.scheduler.add_noise(x, noise, t), t, found.text_encoder(told)[0]
        ).sample
        loss = F.mse_loss(predicted, found.scheduler.get_velocity(x, noise, t))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(learned)
        step, mean = step + 1, 0.98 * mean + 0.02 * float(loss)
        if step % 100 == 0:
            print(f"denoiser {step}: {mean:.4f}", flush=True)
    average.copy_to(learned)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=float, default=20, help="of training, a quarter the VAE's"
    )
    parser.add_argument("--scenes", type=int, default=6000)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    draw = random.Random(0)
    pictures, captions = zip(
        *itertools.islice(iter(lambda: scene(draw), None), options.scenes), strict=True
    )
    images, found = pixels(list(pictures)), pipeline(seed=0)
    train_vae(found.vae.train(), images, options.minutes * 15)
    found.vae.eval()
    train_denoiser(found, images, list(captions), options.minutes * 45)
    for part in (found.vae, found.unet, found.text_encoder):
        part.eval().half()
    found.save_pretrained(options.out, safe_serialization=True)


if __name__ == "__main__":
    main()
