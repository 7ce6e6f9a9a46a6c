"""A contact sheet: what was asked about beside what it was attributed to.

A line a query: the query's picture, what the fine-tuned model draws for its prompt, the training
pictures with the highest and the lowest scores by DataInf, and those with the highest product of
gradients: the `datainf` and `gradient` of the tables. A green frame is the query's class, a red one
another.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from datainf import GradientStore
from datainf.tasks.images import open_image
from experiments.images.settings import ImageSettings
from experiments.images.tasks import Row, Rows
from experiments.methods import Variant

LINES = 6
COLOURS = 256
"""Of the file: a third of the bytes, and nobody sees it."""
BEST, WORST = 5, 3
SIDE, FRAME, GAP, HEAD, FOOT = 72, 3, 14, 18, 16
SAME, OTHER, PLAIN = (40, 150, 60), (200, 60, 50), (180, 180, 180)
ATTRIBUTION = {
    "emoji": "Emoji: twemoji (c) Twitter, Inc and other contributors, CC BY 4.0; Noto Emoji "
    "(c) Google, Apache 2.0; OpenMoji (c) OpenMoji, CC BY-SA 4.0. This sheet: CC BY-SA 4.0.",
    "drawn": "",
    "hub": "",
}


def make_gallery(
    pipeline: Any,
    rows: Rows,
    stores: tuple[GradientStore, GradientStore],
    settings: ImageSettings,
    out: Path,
) -> None:
    """Draw the sheet of a fine-tuned pipeline, for some queries of different classes."""
    by_datainf, by_gradient = (Variant(name).scores(*stores) for name in ("datainf", "gradient"))
    chosen = some_queries(rows.query)
    drawn = generated(pipeline, [rows.query[number]["text"] for number in chosen], settings)
    lines = [
        [
            [framed(rows.query[number]["image"], PLAIN)],
            [framed(picture, PLAIN)],
            pictures(rows, number, by_datainf, BEST),
            pictures(rows, number, -by_datainf, WORST),
            pictures(rows, number, by_gradient, BEST),
        ]
        for number, picture in zip(chosen, drawn, strict=True)
    ]
    heads = [
        "query",
        "generated",
        "most helpful by datainf",
        "most harmful",
        "most helpful by gradient",
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    page = sheet(lines, heads, ATTRIBUTION[settings.source])
    page.quantize(COLOURS).save(out, optimize=True)


def some_queries(queries: Sequence[Row]) -> list[int]:
    """Numbers of `LINES` queries, the classes taking turns."""
    turns: dict[str, int] = {}
    order = []
    for number, row in enumerate(queries):
        turns[row["class"]] = turns.get(row["class"], 0) + 1
        order.append((turns[row["class"]], number))
    return [number for _, number in sorted(order)[:LINES]]


def generated(pipeline: Any, prompts: list[str], settings: ImageSettings) -> list[Image.Image]:
    """A picture a prompt, from the same noise for all, by DDIM."""
    scheduler = diffusers.DDIMScheduler.from_config(
        pipeline.scheduler.config,
        clip_sample=settings.source != "hub",
        timestep_spacing="trailing",
    )
    unet, side = pipeline.unet, pipeline.unet.config.sample_size
    device = unet.device
    noise = torch.randn(
        (1, unet.config.in_channels, side, side), generator=torch.Generator().manual_seed(0)
    )
    x = noise.repeat(len(prompts), 1, 1, 1).to(device)
    scheduler.set_timesteps(settings.sampling_steps)
    with torch.no_grad():
        text = torch.cat(
            [pipeline.encode_prompt(told, device, 1, False)[0] for told in ([""], prompts)]
        )
        text = torch.cat([text[:1].expand(len(prompts), -1, -1), text[1:]])
        for t in scheduler.timesteps:
            without, told = unet(torch.cat([x, x]), t.to(device), text).sample.chunk(2)
            x = scheduler.step(without + settings.guidance * (told - without), t, x).prev_sample
        vae = pipeline.vae
        pixels = vae.decode(x / vae.config.scaling_factor, return_dict=False)[0]
    values = ((pixels.clamp(-1, 1) + 1) * 127.5).byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(value) for value in values]


def pictures(rows: Rows, number: int, scores: Tensor, count: int) -> list[Image.Image]:
    """The training pictures with a query's highest scores."""
    asked = rows.query[number]["class"]
    best = scores[number].argsort(descending=True, stable=True)[:count]
    found = [rows.train[int(position)] for position in best]
    return [framed(row["image"], SAME if row["class"] == asked else OTHER) for row in found]


def framed(image: Any, colour: tuple[int, int, int]) -> Image.Image:
    inner = SIDE - 2 * FRAME
    picture = ImageOps.fit(open_image(image), (inner, inner), Image.Resampling.LANCZOS)
    return ImageOps.expand(picture, FRAME, colour)


def sheet(lines: list[list[list[Image.Image]]], heads: list[str], foot: str) -> Image.Image:
    """Groups of pictures side by side, a head over each group, a line of text below all."""
    widths = [len(group) * SIDE + GAP for group in lines[0]]
    height = HEAD + len(lines) * (SIDE + 4) + (FOOT if foot else 0)
    page = Image.new("RGB", (sum(widths), height), (255, 255, 255))
    pen = ImageDraw.Draw(page)
    left = 0
    for position, head in enumerate(heads):
        pen.text((left + 2, 3), head, fill=(0, 0, 0))
        for number, line in enumerate(lines):
            for place, picture in enumerate(line[position]):
                page.paste(picture, (left + place * SIDE, HEAD + number * (SIDE + 4)))
        left += widths[position]
    pen.text((2, height - FOOT + 2), foot, fill=(90, 90, 90))
    return page
