"""Stable Diffusion 1.5's shapes with random bfloat16 weights, LoRA of rank 4 on all attention in
float32, images of 512 pixels at six timesteps each, by examples a batch. The plain pass is forward
and backward of the mean loss of the same batches. A collection's budget counts an example's
positions over all timesteps, as if they were tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import stable_diffusion
from benchmarks.gpu.passes import GRADIENTS, PLAIN, WAYS, passes, probed
from benchmarks.gpu.watched import gib
from benchmarks.works import Work
from datainf.tasks import TextToImage


@dataclass(frozen=True)
class Size:
    """The shapes; rows in each round; examples a batch."""

    shape: stable_diffusion.Shape = field(default_factory=stable_diffusion.Shape)
    rows: int = 16
    batches: tuple[int, ...] = (1, 2, 4, 8)
    timesteps: int = 6


FULL = {"diffusion": Size()}
TOY = Size(
    stable_diffusion.Shape(
        pixels=16, channels=(8, 16), heads=2, norm_groups=4, text_width=16, text_layers=1,
        text_heads=2, vocabulary=520, vae_channels=(8, 16), layers=1,
    ),
    rows=3, batches=(1, 2), timesteps=2,
)  # fmt: skip


def run(size: Size, device: torch.device, folder: Path) -> Iterator[dict[str, Any]]:
    """What is found, each time that there is more of it."""
    pipeline, model = stable_diffusion.make(size.shape, device)
    task = TextToImage(pipeline, timesteps=size.timesteps, resolution=size.shape.pixels)
    work = Work("Stable Diffusion", model, task, made_rows(size))
    positions = task.length(None)
    found: dict[str, Any] = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "adapter": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "rows": size.rows, "timesteps": size.timesteps, "pixels": size.shape.pixels,
        "positions": positions, "budget": probed(work, folder),
    }  # fmt: skip
    for examples in size.batches:
        one = passes(work, examples * positions, device)
        found.setdefault("batches", {})[str(examples)] = one
        yield found


def made_rows(size: Size) -> list[dict[str, Any]]:
    draw = torch.Generator().manual_seed(0)
    shape = (3, size.shape.pixels, size.shape.pixels)
    return [
        {
            "text": f"picture number {place}",
            "pixel_values": torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8),
        }
        for place in range(size.rows)
    ]


def lines(found: dict[str, Any]) -> list[str]:
    table = [
        f"{found['parameters'] / 1e6:.0f} million parameters, {found['adapter']:,} of them the "
        f"adapter's; {found['pixels']} pixels, {found['timesteps']} timesteps, "
        f"{found['positions']:,} positions an example; the probe's budget is "
        f"{found['budget']:,}, {max(1, found['budget'] // found['positions'])} a batch.",
        "",
        "| examples a batch | way | examples/s | speed ÷ plain pass | speed ÷ plain passes of one "
        "example each | peak, GiB |",
        "|---|---|---|---|---|---|",
    ]
    alone = found["batches"].get("1", {}).get(PLAIN)
    for examples, one in found["batches"].items():
        for name in (PLAIN, GRADIENTS):
            ratios = _ratios(one[name], one[PLAIN], alone)
            table.append(f"| {examples} | {WAYS[name]} | {_rate(found, one[name])} | {ratios} |")
        if one["fallback"]:
            table.append("| | examples had to be taken alone | | | | |")
    return table


def _rate(found: dict[str, Any], one: Any) -> str:
    return "memory is too small" if one is None else f"{found['rows'] / one['seconds']:.1f}"


def _ratios(one: Any, *others: Any) -> str:
    if one is None:
        return " | " * len(others)
    cells = [f"{other['seconds'] / one['seconds']:.2f}" if other else "" for other in others]
    return " | ".join([*cells, gib(one["peak"])])
