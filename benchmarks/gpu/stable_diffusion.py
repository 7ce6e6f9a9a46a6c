"""Stable Diffusion 1.5's shapes with random weights; nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import peft
import torch
import transformers
from tokenizers import pre_tokenizers

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
START, END = "<|startoftext|>", "<|endoftext|>"


@dataclass(frozen=True)
class Shape:
    """Those values of the published configurations that a smaller one has others of."""

    pixels: int = 512
    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    heads: int = 8
    norm_groups: int = 32
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    vocabulary: int = 49408
    vae_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers: int = 2
    dtype: torch.dtype = torch.bfloat16


def make(shape: Shape, device: torch.device) -> tuple[Any, peft.PeftModel]:
    """The pipeline, on the device, and its UNet with LoRA of rank 4 on all attention."""
    import diffusers

    torch.manual_seed(0)
    with device:
        parts = {"unet": _unet(shape), "vae": _vae(shape), "text_encoder": _text_encoder(shape)}
    for part in parts.values():
        part.to(shape.dtype).eval().requires_grad_(False)
    pipeline = diffusers.StableDiffusionPipeline(
        **parts, tokenizer=_tokenizer(), scheduler=_scheduler(), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    config = peft.LoraConfig(r=4, target_modules=ATTENTION, init_lora_weights=False)
    return pipeline, peft.get_peft_model(parts["unet"], config).eval()


def _unet(shape: Shape) -> Any:
    import diffusers

    crossing = len(shape.channels) - 1
    return diffusers.UNet2DConditionModel(
        sample_size=shape.pixels // _scale(shape), in_channels=4, out_channels=4,
        block_out_channels=shape.channels, layers_per_block=shape.layers,
        down_block_types=("CrossAttnDownBlock2D",) * crossing + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * crossing,
        attention_head_dim=shape.heads, cross_attention_dim=shape.text_width,
        norm_num_groups=shape.norm_groups,
    )  # fmt: skip


def _vae(shape: Shape) -> Any:
    import diffusers

    depth = len(shape.vae_channels)
    return diffusers.AutoencoderKL(
        block_out_channels=shape.vae_channels, layers_per_block=shape.layers, latent_channels=4,
        sample_size=shape.pixels, norm_num_groups=shape.norm_groups, scaling_factor=0.18215,
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
    )  # fmt: skip


def _text_encoder(shape: Shape) -> Any:
    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=shape.vocabulary, hidden_size=shape.text_width,
            intermediate_size=4 * shape.text_width, num_hidden_layers=shape.text_layers,
            num_attention_heads=shape.text_heads, max_position_embeddings=77,
            projection_dim=shape.text_width, hidden_act="quick_gelu",
        )
    )  # fmt: skip


def _tokenizer() -> transformers.CLIPTokenizer:
    """A token a byte; how long texts are is no matter, since all are padded to 77."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet), START, END]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def _scheduler() -> Any:
    import diffusers

    return diffusers.DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
        clip_sample=False,
    )  # fmt: skip


def _scale(shape: Shape) -> int:
    """Pixels a latent's side."""
    return 2 ** (len(shape.vae_channels) - 1)
