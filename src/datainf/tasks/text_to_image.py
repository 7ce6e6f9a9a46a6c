"""Text-to-image with diffusers: what the denoiser loses at K timesteps, with noise that all share.

    loss = (1/K) Σ_t w_t · ‖f(x_t, t, text) − target_t‖² / (entries of the latents)

with x_t and target_t as in `noise_schedule`. The timesteps are folded into the batch, timestep
after timestep, so that one forward and one backward pass serve them all; the VAE and the text
encoders see each example once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from datainf.errors import DataError, ModelError, OptionError
from datainf.fingerprint import digest, tokenizer_digest
from datainf.tasks.base import TRUNCATED, Task
from datainf.tasks.denoisers import Denoiser, find_denoiser
from datainf.tasks.images import image_name
from datainf.tasks.noise_schedule import NoiseSchedule, Weighting, noise_schedule, shared_noise
from datainf.tasks.pipeline_parts import (
    TEXT_ENCODERS,
    config_digest,
    held_by,
    network_digest,
    networks,
    quiet,
    tokenizers,
    without_dropout,
)
from datainf.tasks.pixels import as_floats, given_pixels, read_image
from datainf.tasks.sampling import Draws, sampled_square_losses


@dataclass(frozen=True)
class TextToImage(Task):
    """A denoiser's training loss: Stable Diffusion 1.x, 2.x, XL and 3, Flux.1.

    The model to attribute is the pipeline's denoiser (`pipeline.unet`, `pipeline.transformer`),
    a text encoder, or an `nn.ModuleDict` of several of its parts, each perhaps inside a peft
    adapter. All other parts are frozen; they are read from `pipeline`.

    Examples are mappings with `text`, and an `image` (a PIL image, a path, or `bytes` or `path` in
    a mapping) or `pixel_values` [3, resolution, resolution]. Latents are the posterior's mean.

    Args:
        timesteps: Which, or how many evenly spaced; see `noise_schedule`.
        resolution: Of the square images; the model's own if None.
        seed: Of the noise: one tensor a timestep, the same for every example.
        aggregate: "mean" averages an example's gradients over timesteps; "concatenate" keeps them
            side by side, as the paper's released code does: K times as many numbers to store.
        weighting: The w_t. "none": 1. Diffusion: "snr", min-SNR-γ. Flow matching, with σ the
            share of noise: "sigma_sqrt" 1/σ², "cosmap" 2/π(1 − 2σ + 2σ²), "sigma_squared" σ², which
            is the SD3 script's loss with its preconditioned outputs. Their scale is diffusers'
            own. Or K numbers: gradients differ in norm by orders of magnitude between timesteps.
        snr_gamma: The γ of "snr".
        guidance: What Flux.1-dev is told.
        max_sequence_length: Tokens of the T5 encoder; the pipeline's default if None.
        attributed: Names of the pipeline's parts in the model; `for_model` finds them.

    Raises:
        ModelError: a pipeline whose training loss is not known, a model that is no part of it.
        OptionError: a value that the pipeline cannot take.
    """

    pipeline: Any
    timesteps: int | Sequence[int] = 6
    resolution: int | None = None
    seed: int = 0
    aggregate: Literal["mean", "concatenate"] = "mean"
    weighting: Weighting | Sequence[float] = "none"
    snr_gamma: float = 5.0
    guidance: float = 1.0
    max_sequence_length: int | None = None
    attributed: tuple[str, ...] = ()
    denoiser: Denoiser = field(init=False, repr=False, compare=False)
    schedule: NoiseSchedule = field(init=False, repr=False, compare=False)
    parts: int = field(init=False)
    concatenate: bool = field(init=False)
    name: ClassVar[str] = "text-to-image"

    def __post_init__(self) -> None:
        if self.aggregate not in {"mean", "concatenate"}:
            raise OptionError(f"aggregate is {self.aggregate!r}", remedy="mean or concatenate")
        denoiser = find_denoiser(self.pipeline, self.max_sequence_length, self.guidance)
        schedule = noise_schedule(
            self.pipeline.scheduler, self.timesteps, self.weighting, self.snr_gamma
        )
        found = {
            "denoiser": denoiser,
            "schedule": schedule,
            "parts": len(schedule),
            "concatenate": self.aggregate == "concatenate",
            "attributed": self.attributed or (denoiser.component,),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)
        multiple = self.pipeline.vae_scale_factor * denoiser.patch
        if self.side < 1 or self.side % multiple:
            raise OptionError(
                f"the resolution must be a multiple of {multiple} for this pipeline, "
                f"got {self.side}",
                remedy=f"resolution={max(1, round(self.side / multiple)) * multiple}",
            )

    @property
    def side(self) -> int:
        """Height and width of the images in pixels."""
        if self.resolution is not None:
            return self.resolution
        size = getattr(self.denoiser.config, "sample_size", None)
        latents = self.pipeline.default_sample_size if size is None else size
        if not isinstance(latents, int):
            raise OptionError(
                f"the pipeline's own images are not square: {latents}", remedy="a resolution"
            )
        return int(latents * self.pipeline.vae_scale_factor)

    def for_model(self, model: nn.Module) -> Self:
        found = held_by(model, self.pipeline)
        if not found:
            raise ModelError(
                f"the model, a {type(model).__name__}, holds no part of the pipeline",
                remedy=f"pipeline.{self.denoiser.component}, pipeline.text_encoder, or an "
                "nn.ModuleDict of both, with their adapters",
            )
        used = networks(self.pipeline).values()
        devices = sorted({str(p.device) for network in used for p in network.parameters()})
        if len(devices) > 1:
            raise ModelError(
                f"the pipeline's parts are on several devices: {', '.join(devices)}",
                remedy="pipeline.to(device)",
            )
        return replace(self, attributed=tuple(found))

    def encode(self, example: Mapping[str, Any]) -> dict[str, Any]:
        if TRUNCATED in example:
            return dict(example)
        if not isinstance(example.get("text"), str):
            raise DataError(
                f"no text in the example: its columns are {', '.join(map(str, example))}",
                remedy="columns text and image",
            )
        if example.get("image") is not None:
            pixels = read_image(example["image"], self.side)
        elif example.get("pixel_values") is not None:
            pixels = given_pixels(example["pixel_values"], self.side)
        else:
            raise DataError("no image in the example", remedy="a column image, or pixel_values")
        return {
            "pixel_values": pixels.values,
            "text": example["text"],
            "sizes": [*pixels.original, *pixels.crop, self.side, self.side],
            TRUNCATED: self.denoiser.truncated(example["text"]),
        }

    def collate(self, examples: Sequence[Any]) -> dict[str, Any]:
        encoded = [self.encode(example) for example in examples]
        return {
            "pixel_values": torch.stack([as_floats(row["pixel_values"]) for row in encoded]),
            "text": [row["text"] for row in encoded],
            "sizes": torch.tensor([row["sizes"] for row in encoded], dtype=torch.float32),
        }

    def losses(self, model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        return self.part_losses(model, batch).mean(dim=1)

    def part_losses(self, model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        predicted, target = self._predicted(model, batch)
        errors = (predicted - target).square().flatten(2).mean(dim=2)
        return (self.schedule.weights.to(errors)[:, None] * errors).T

    @property
    def can_sample(self) -> bool:
        return not self.concatenate

    def sampled_losses(self, model: nn.Module, batch: Mapping[str, Any], draws: Draws) -> Tensor:
        predicted, _ = self._predicted(model, batch)
        outputs = predicted.transpose(0, 1)  # [B, K, C, h, w]
        weights = self.schedule.weights.double().view(-1, 1, 1, 1) / outputs[0].numel()
        return sampled_square_losses(outputs, weights, draws)

    def _predicted(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """What the denoiser says, and should say, [K, B, C, h, w], float32 or better."""
        found = held_by(model, self.pipeline)
        module = found.get(self.denoiser.component, self.denoiser.module)
        frozen = [net for name, net in networks(self.pipeline).items() if name not in found]
        with without_dropout(frozen):
            latents = self._latents(batch["pixel_values"])
            conditions = self._conditions(batch, learn=any(name in found for name in TEXT_ENCODERS))
            return self._denoise(module, latents, conditions)

    def describe(self, example: Mapping[str, Any]) -> str:
        return caption(example)

    def length(self, example: Any) -> int:  # noqa: ARG002 - all images are of one size
        """The latents' positions, as the denoiser sees them, over all timesteps."""
        side = self.side // (self.pipeline.vae_scale_factor * self.denoiser.patch)
        return int(side * side) * self.parts

    def shortening(self, length: int | None) -> list[str]:  # noqa: ARG002 - no number says both
        fewer = ["fewer --timesteps"] if self.parts > 1 else []
        return ["a smaller --resolution", *fewer]

    def settings(self) -> dict[str, Any]:
        weights = self.schedule.weights.tolist()
        return {
            "name": self.name,
            "timesteps": list(self.schedule.timesteps),
            "schedule": digest(list(vars(self.schedule).values())),
            "weighting": self.weighting if isinstance(self.weighting, str) else weights,
            "snr_gamma": self.snr_gamma if self.weighting == "snr" else None,
            "resolution": self.side,
            "seed": self.seed,
            "aggregate": self.aggregate,
            "guidance": self.guidance,
            "max_sequence_length": self.max_sequence_length,
            "attributed": sorted(self.attributed),
            "denoiser": config_digest(self.denoiser.config),
            "frozen": {
                name: network_digest(network)
                for name, network in networks(self.pipeline).items()
                if name not in self.attributed
            },
            "tokenizers": {
                name: tokenizer_digest(tokenizer)
                for name, tokenizer in tokenizers(self.pipeline).items()
            },
        }

    def _denoise(
        self, module: nn.Module, latents: Tensor, conditions: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Predictions and targets [K, B, …]; rows are timestep after timestep, an example each."""
        schedule, (B, K) = self.schedule, (len(latents), self.parts)
        noise = shared_noise(schedule.timesteps, latents.shape[1:], self.seed).to(latents)
        signal, scale, of_noise, of_latents = (
            value.to(latents)
            for value in (
                schedule.signal, schedule.noise, schedule.of_noise, schedule.of_latents,
            )
        )  # fmt: skip
        epsilon, x = noise[:, None], latents[None]  # [K, 1, C, h, w], [1, B, C, h, w]
        noisy = (_over(signal, x) * x + _over(scale, x) * epsilon).flatten(0, 1)
        target = _over(of_noise, x) * epsilon + _over(of_latents, x) * x
        predicted = self.denoiser.predict(
            module,
            noisy.to(self.denoiser.dtype),
            schedule.times.to(latents.device).repeat_interleave(B),
            {name: value.repeat(K, *[1] * (value.dim() - 1)) for name, value in conditions.items()},
        )
        return predicted.to(latents.dtype).reshape(K, B, *predicted.shape[1:]), target

    @torch.no_grad()
    def _latents(self, pixels: Tensor) -> Tensor:
        """Scaled latents [B, C, h, w], float32 or better."""
        vae, config = self.pipeline.vae, self.pipeline.vae.config
        latents: Tensor = vae.encode(pixels.to(vae.dtype)).latent_dist.mode()
        latents = latents if latents.itemsize >= 4 else latents.float()
        if getattr(config, "latents_mean", None) is not None:
            shape = (1, -1, 1, 1)
            mean, std = (latents.new_tensor(v) for v in (config.latents_mean, config.latents_std))
            return (latents - mean.view(shape)) * float(config.scaling_factor) / std.view(shape)
        shift, scale = getattr(config, "shift_factor", None) or 0, float(config.scaling_factor)
        return (latents - shift) * scale

    def _conditions(self, batch: Mapping[str, Any], *, learn: bool) -> dict[str, Tensor]:
        with quiet(), torch.set_grad_enabled(torch.is_grad_enabled() and learn):
            device = batch["pixel_values"].device
            return self.denoiser.conditions(list(batch["text"]), batch["sizes"], device)


def caption(example: Mapping[str, Any]) -> str:
    """An example in words: its text, and its image's file if that is known."""
    name = image_name(example.get("image"))
    return f"{example.get('text', '')}" + ("" if name is None else f" ({Path(name).name})")


def _over(values: Tensor, like: Tensor) -> Tensor:
    """[K] → [K, 1, …], to multiply a tensor of `like`'s dimensions."""
    return values.reshape(-1, *[1] * (like.dim() - 1))
