"""What each family of denoisers is told besides the noisy latents, and how it is called.

    UNet2DConditionModel    Stable Diffusion 1.x, 2.x; with added text and sizes, XL
    SD3Transformer2DModel   Stable Diffusion 3
    FluxTransformer2DModel  Flux.1

Text goes through the pipeline's own `encode_prompt`, without classifier-free guidance. Symbols: B
examples, R rows (B for each timestep), C channels, latents of height h and width w.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from datainf.errors import ModelError
from datainf.tasks.pipeline_parts import tokenizers


@dataclass(frozen=True)
class Denoiser(ABC):
    """A pipeline's denoiser, and the settings that its family has."""

    pipeline: Any
    max_sequence_length: int | None = None
    guidance: float = 1.0

    component: ClassVar[str]
    reader: ClassVar[str | None] = None
    """The tokenizer whose length can be chosen, that of T5; the others have their own limit."""
    reader_tokens: ClassVar[int] = 0
    """Its length in diffusers."""
    patch: ClassVar[int] = 1

    @property
    def module(self) -> nn.Module:
        module: nn.Module = getattr(self.pipeline, self.component)
        return module

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(self.pipeline, self.component).dtype
        return dtype

    @property
    def config(self) -> Any:
        return self.module.config

    @property
    def channels(self) -> int:
        """Of the latents that the denoiser takes."""
        return int(self.config.in_channels)

    def check(self) -> None:
        """Raises `ModelError` for a denoiser that takes or gives more than noisy latents."""
        vae = int(self.pipeline.vae.config.latent_channels)
        if self.channels != vae:
            raise ModelError(
                f"the {self.component} takes {self.channels} channels where the VAE gives {vae}: "
                "it is for inpainting, depth or editing, whose loss needs more than image and text",
                remedy="a text-to-image pipeline, or datainf.tasks.Custom with your own loss",
            )

    @abstractmethod
    def conditions(
        self, texts: list[str], sizes: Tensor, device: torch.device
    ) -> dict[str, Tensor]:
        """Tensors with a row an example, [B, …].

        `sizes` [B, 6]: original height and width, top and left of the cut, height and width.
        """

    @abstractmethod
    def predict(
        self, module: nn.Module, noisy: Tensor, times: Tensor, conditions: Mapping[str, Tensor]
    ) -> Tensor:
        """The denoiser's output [R, C, h, w] for noisy latents [R, C, h, w], times [R] and
        conditions [R, …]; `module` is the denoiser, perhaps inside its adapter."""

    @property
    def text_length(self) -> int:
        """Tokens that the reader takes."""
        return self.max_sequence_length or self.reader_tokens

    def truncated(self, text: str) -> int:
        """Tokens at the end of a text that no text encoder sees."""
        cut = []
        for name, tokenizer in tokenizers(self.pipeline).items():
            limit = self.text_length if name == self.reader else tokenizer.model_max_length
            ids = tokenizer(text, truncation=False, verbose=False)["input_ids"]
            cut.append(max(0, len(ids) - limit))
        return min(cut, default=0)


class StableDiffusion(Denoiser):
    """UNets that are told a text."""

    component = "unet"

    def check(self) -> None:
        super().check()
        if self.config.out_channels != self.config.in_channels or self.config.num_class_embeds:
            raise ModelError(
                "the UNet predicts a variance or takes a class: that loss is not known",
                remedy="a text-to-image pipeline, or datainf.tasks.Custom with your own loss",
            )

    def conditions(
        self,
        texts: list[str],
        sizes: Tensor,  # noqa: ARG002 - a hook
        device: torch.device,
    ) -> dict[str, Tensor]:
        embeds, _ = self.pipeline.encode_prompt(texts, device, 1, False)
        return {"text": embeds}

    def predict(
        self, module: nn.Module, noisy: Tensor, times: Tensor, conditions: Mapping[str, Tensor]
    ) -> Tensor:
        text = conditions["text"].to(noisy.dtype)
        return _tensor(module(noisy, times, encoder_hidden_states=text, return_dict=False))


class StableDiffusionXL(StableDiffusion):
    """UNets that are told the pooled text and the image's sizes too."""

    def check(self) -> None:
        super().check()
        pooled = int(self.pipeline.text_encoder_2.config.projection_dim)
        told = 6 * int(self.config.addition_time_embed_dim) + pooled
        if told != int(self.config.projection_class_embeddings_input_dim):
            raise ModelError(
                "the UNet is told something else than six sizes and the pooled text, as SDXL's "
                "refiner is",
                remedy="the base pipeline of SDXL, or datainf.tasks.Custom with your own loss",
            )

    def conditions(
        self, texts: list[str], sizes: Tensor, device: torch.device
    ) -> dict[str, Tensor]:
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            texts, device=device, do_classifier_free_guidance=False
        )
        return {"text": embeds, "pooled": pooled, "sizes": sizes}

    def predict(
        self, module: nn.Module, noisy: Tensor, times: Tensor, conditions: Mapping[str, Tensor]
    ) -> Tensor:
        added = {"text_embeds": "pooled", "time_ids": "sizes"}
        return _tensor(
            module(
                noisy,
                times,
                encoder_hidden_states=conditions["text"].to(noisy.dtype),
                added_cond_kwargs={
                    k: conditions[name].to(noisy.dtype) for k, name in added.items()
                },
                return_dict=False,
            )
        )


class StableDiffusion3(Denoiser):
    """Transformers on patches of latents, told the text and the pooled text."""

    component = "transformer"
    reader, reader_tokens = "tokenizer_3", 256

    @property
    def patch(self) -> int:  # type: ignore[override]  # the model's own
        return int(self.config.patch_size)

    def conditions(
        self,
        texts: list[str],
        sizes: Tensor,  # noqa: ARG002 - a hook
        device: torch.device,
    ) -> dict[str, Tensor]:
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            texts,
            None,
            None,
            device=device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.text_length,
        )
        return {"text": embeds, "pooled": pooled}

    def predict(
        self, module: nn.Module, noisy: Tensor, times: Tensor, conditions: Mapping[str, Tensor]
    ) -> Tensor:
        return _tensor(
            module(
                hidden_states=noisy,
                encoder_hidden_states=conditions["text"].to(noisy.dtype),
                pooled_projections=conditions["pooled"].to(noisy.dtype),
                timestep=times,
                return_dict=False,
            )
        )


class Flux(Denoiser):
    """Transformers on packed latents, told the text, the pooled text and perhaps the guidance."""

    component = "transformer"
    reader, reader_tokens = "tokenizer_2", 512
    patch = 2

    @property
    def channels(self) -> int:
        return int(self.config.in_channels) // 4

    def conditions(
        self,
        texts: list[str],
        sizes: Tensor,  # noqa: ARG002 - a hook
        device: torch.device,
    ) -> dict[str, Tensor]:
        embeds, pooled, _ = self.pipeline.encode_prompt(
            texts, device=device, max_sequence_length=self.text_length
        )
        return {"text": embeds, "pooled": pooled}

    def predict(
        self, module: nn.Module, noisy: Tensor, times: Tensor, conditions: Mapping[str, Tensor]
    ) -> Tensor:
        rows, channels, height, width = noisy.shape
        text = conditions["text"].to(noisy.dtype)
        guidance = torch.full_like(times, self.guidance) if self.config.guidance_embeds else None
        packed = self.pipeline._pack_latents(noisy, rows, channels, height, width)
        places = self.pipeline._prepare_latent_image_ids(
            rows, height // 2, width // 2, noisy.device, noisy.dtype
        )
        output = _tensor(
            module(
                hidden_states=packed,
                timestep=times / 1000,
                guidance=guidance,
                pooled_projections=conditions["pooled"].to(noisy.dtype),
                encoder_hidden_states=text,
                txt_ids=text.new_zeros(text.shape[1], 3),
                img_ids=places,
                return_dict=False,
            )
        )
        scale = self.pipeline.vae_scale_factor
        unpacked: Tensor = self.pipeline._unpack_latents(
            output, height * scale, width * scale, scale
        )
        return unpacked


def find_denoiser(pipeline: Any, max_sequence_length: int | None, guidance: float) -> Denoiser:
    """A pipeline's family.

    Raises `ModelError` for one that is not known, or that does more than text to image.
    """
    kind = _family(pipeline)
    if kind is None or getattr(pipeline, "vae", None) is None:
        module = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
        raise ModelError(
            f"the training loss of a {type(pipeline).__name__} with a {type(module).__name__} is "
            "not known",
            remedy="a pipeline of Stable Diffusion 1.x, 2.x, XL or 3, or Flux.1, with its VAE; or "
            "datainf.tasks.Custom with your own loss",
        )
    denoiser = kind(pipeline, max_sequence_length, guidance)
    denoiser.check()
    return denoiser


def _family(pipeline: Any) -> type[Denoiser] | None:
    unet: Any = getattr(pipeline, "unet", None)
    transformer: Any = getattr(pipeline, "transformer", None)
    name = type(unet if transformer is None else transformer).__name__
    if name != "UNet2DConditionModel":
        return {"SD3Transformer2DModel": StableDiffusion3, "FluxTransformer2DModel": Flux}.get(name)
    added = unet.config.addition_embed_type
    return {None: StableDiffusion, "text_time": StableDiffusionXL}.get(added)


def _tensor(output: Any) -> Tensor:
    """The first of a model's outputs."""
    first: Tensor = output[0]
    return first
