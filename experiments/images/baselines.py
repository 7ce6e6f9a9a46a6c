"""What attribution has to beat: likeness of pictures, of the model's states, of the prompts.

All give scores [m, n], a row a query. States and pictures are compared by cosine, centred on the
training rows' mean; pictures as the VAE has them, which at desk scale is their pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from datainf.evaluation import similarity
from datainf.tasks import TextToImage
from experiments.baselines import bm25, chance
from experiments.images.tasks import Row, Rows
from experiments.images.training import ENCODED_AT_ONCE, encode_images, encode_texts

STATES_AT = 425
"""The timestep, of 1000, at which the UNet's states are taken."""


def baselines(pipeline: Any, rows: Rows, seed: int) -> dict[str, Tensor]:
    """Name → scores, of the pipeline as it is, fine-tuned or not."""

    def alike(represent: Callable[[Any, Sequence[Row]], Tensor]) -> Tensor:
        return similarity(represent(pipeline, rows.query), represent(pipeline, rows.train))

    unet = pipeline.unet
    found = {
        "likeness of pictures": alike(latents),
        "representations, middle block": alike(states_of(unet.mid_block)),
        "representations, last layer": alike(states_of(unet.conv_norm_out)),
        "embedded prompts": alike(embedded_prompts),
        "BM25, prompts": bm25(*columns(rows, "text")),
        "random": chance(len(rows.query), len(rows.train), seed),
    }
    if all(row["caption"] in row["text"] for row in rows.train):  # a subject's is never told
        found["BM25, captions"] = bm25(*columns(rows, "caption"))
    return found


def columns(rows: Rows, name: str) -> tuple[list[str], list[str]]:
    """A column of the queries, and of the training rows."""
    query, train = ([row[name] for row in part] for part in (rows.query, rows.train))
    return query, train


def latents(pipeline: Any, rows: Sequence[Row]) -> Tensor:
    """What the denoiser denoises, [n, entries]."""
    return encode_images(pipeline, rows).flatten(1).cpu()


def states_of(module: nn.Module) -> Callable[[Any, Sequence[Row]], Tensor]:
    """A module's outputs for rows, noisy at one timestep by noise that all share, averaged over
    positions: [n, channels]."""

    @torch.no_grad()
    def represent(pipeline: Any, rows: Sequence[Row]) -> Tensor:
        task, found = TextToImage(pipeline, timesteps=(STATES_AT,)), []
        handle = module.register_forward_hook(
            lambda _module, _inputs, output: found.append(output.float().mean(dim=(2, 3)).cpu())
        )
        with handle:
            for start in range(0, len(rows), ENCODED_AT_ONCE):
                task.losses(pipeline.unet, task.collate(rows[start : start + ENCODED_AT_ONCE]))
        return torch.cat(found)

    return represent


def embedded_prompts(pipeline: Any, rows: Sequence[Row]) -> Tensor:
    """The text encoder's output, averaged over a prompt's own tokens, [n, width]."""
    texts = [row["text"] for row in rows]
    tokens = pipeline.tokenizer(
        texts, padding="max_length", truncation=True, return_tensors="pt",
        max_length=pipeline.tokenizer.model_max_length,
    )  # fmt: skip
    states = encode_texts(pipeline, texts).cpu()
    weight: Tensor = tokens["attention_mask"][:, :, None].float()
    return (states * weight).sum(dim=1) / weight.sum(dim=1)
