"""Tiny diffusers pipelines of the real architectures, with random weights; nothing is downloaded.

Images of 32 pixels, latents of 16; tokenizers have a token a byte.
"""

from __future__ import annotations

import peft
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from tokenizers import pre_tokenizers
from torch import nn

PIXELS = 32
TOKENS = 16
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
CONVOLUTIONS = ["conv1", "conv2", "conv_shortcut", "conv"]
NAMES = ("sd1", "sd2", "sdxl", "sd3", "flux")


def make_pipeline(name: str, seed: int = 0):
    """A pipeline of random weights, frozen, in evaluation mode."""
    torch.manual_seed(seed)
    pipeline = _BUILDERS[name]()
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def denoiser_of(pipeline):
    return pipeline.transformer if hasattr(pipeline, "transformer") else pipeline.unet


def add_lora(module: nn.Module, targets: list[str] | str, r: int = 2) -> peft.PeftModel:
    """A LoRA adapter whose two factors are both random."""
    config = peft.LoraConfig(r=r, init_lora_weights=False, target_modules=targets, lora_dropout=0.3)
    return peft.get_peft_model(module, config)


def make_examples(count: int = 8) -> list[dict]:
    """Images of several sizes, most of them not square, with captions of several lengths."""
    generator = torch.Generator().manual_seed(1)
    captions = ["a cat", "a red house on a hill", "x", "two dogs, seen from above", "rain"]
    examples = []
    for i in range(count):
        size = (8 + i, 11 + i % 3, 3)
        noise = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
        image = Image.fromarray(noise.numpy()).resize((40 + 3 * i, 37 + 5 * (i % 4)))
        examples.append({"image": image, "text": captions[i % len(captions)] + str(i)})
    return examples


def clip_tokenizer(limit: int = TOKENS) -> transformers.CLIPTokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|startoftext|>", "<|endoftext|>"]
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet), *special]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=limit)


def t5_tokenizer() -> transformers.T5Tokenizer:
    special = ["<pad>", "</s>", "<unk>", "▁"]
    vocabulary = [
        (token, -1.0 * i) for i, token in enumerate([*special, *map(chr, range(33, 127))])
    ]
    return transformers.T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=TOKENS)


def clip_encoder(width: int = 16, *, projection: int | None = None):
    config = transformers.CLIPTextConfig(
        vocab_size=514, hidden_size=width, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=TOKENS, projection_dim=projection or width,
        bos_token_id=512, eos_token_id=513, pad_token_id=513, initializer_factor=3.0,
    )  # fmt: skip
    projects = projection is not None
    kind = transformers.CLIPTextModelWithProjection if projects else transformers.CLIPTextModel
    return kind(config)


def t5_encoder(width: int = 32) -> transformers.T5EncoderModel:
    return transformers.T5EncoderModel(
        transformers.T5Config(
            vocab_size=98, d_model=width, d_kv=8, d_ff=24, num_layers=2, num_heads=2,
        )
    )  # fmt: skip


def vae(channels: int = 4, shift: float | None = None) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16), norm_num_groups=4, latent_channels=channels, sample_size=PIXELS,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        shift_factor=shift,
    )  # fmt: skip


def unet(text: int = 16, **changes) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        **{
            "sample_size": PIXELS // 2, "block_out_channels": (8, 16), "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "norm_num_groups": 4,
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "attention_head_dim": 2,
            "cross_attention_dim": text,
        }
        | changes
    )  # fmt: skip


def ddpm(prediction: str = "epsilon") -> DDPMScheduler:
    return DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        prediction_type=prediction, steps_offset=1, clip_sample=False,
    )  # fmt: skip


def _sd1(prediction: str = "epsilon", **changes) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae=vae(), text_encoder=clip_encoder(), tokenizer=clip_tokenizer(), unet=unet(**changes),
        scheduler=ddpm(prediction), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def _sd2() -> StableDiffusionPipeline:
    return _sd1("v_prediction", use_linear_projection=True)


def _sdxl() -> StableDiffusionXLPipeline:
    added = {
        "addition_embed_type": "text_time", "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 6 * 4 + 12, "use_linear_projection": True,
    }  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=vae(), text_encoder=clip_encoder(), text_encoder_2=clip_encoder(8, projection=12),
        tokenizer=clip_tokenizer(), tokenizer_2=clip_tokenizer(), unet=unet(16 + 8, **added),
        scheduler=EulerDiscreteScheduler.from_config(ddpm().config),
    )  # fmt: skip


def _sd3() -> StableDiffusion3Pipeline:
    transformer = SD3Transformer2DModel(
        sample_size=PIXELS // 2, patch_size=2, in_channels=4, out_channels=4, num_layers=2,
        attention_head_dim=8, num_attention_heads=2, joint_attention_dim=32,
        caption_projection_dim=16, pooled_projection_dim=16 + 16, pos_embed_max_size=32,
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        vae=vae(shift=0.05), transformer=transformer, tokenizer=clip_tokenizer(),
        text_encoder=clip_encoder(projection=16), text_encoder_2=clip_encoder(16, projection=16),
        tokenizer_2=clip_tokenizer(), text_encoder_3=t5_encoder(), tokenizer_3=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )  # fmt: skip


def _flux() -> FluxPipeline:
    transformer = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=16,
        axes_dims_rope=(2, 2, 4), guidance_embeds=True,
    )  # fmt: skip
    return FluxPipeline(
        vae=vae(shift=0.05), transformer=transformer, text_encoder=clip_encoder(),
        tokenizer=clip_tokenizer(), text_encoder_2=t5_encoder(), tokenizer_2=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )  # fmt: skip


_BUILDERS = {"sd1": _sd1, "sd2": _sd2, "sdxl": _sdxl, "sd3": _sd3, "flux": _flux}
