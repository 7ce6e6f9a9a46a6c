"""At which timesteps a denoiser is asked, of what noise, for what target, at what weight.

    x_t = signal_t · x_0 + noise_t · ε,        target_t = of_noise_t · ε + of_latents_t · x_0

with latents x_0 and noise ε. Diffusion, ᾱ_t of the scheduler: signal √ᾱ, noise √(1−ᾱ); the target
is ε ("epsilon"), √ᾱ ε − √(1−ᾱ) x_0 ("v_prediction") or x_0 ("sample"). Flow matching, σ_t of the
scheduler's shifted schedule: signal 1−σ, noise σ, target ε − x_0. These are the objectives of
diffusers' training scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from datainf.errors import ModelError, OptionError
from datainf.fingerprint import digest

Weighting = Literal["none", "snr", "sigma_sqrt", "cosmap", "sigma_squared"]
DIFFUSION: tuple[Weighting, ...] = ("none", "snr")
FLOW: tuple[Weighting, ...] = ("none", "sigma_sqrt", "cosmap", "sigma_squared")

FIRST, LAST = 0.025, 0.925
"""The ends of evenly spaced timesteps, as shares of all: the paper's 25 and 925 of 1000."""


@dataclass(frozen=True)
class NoiseSchedule:
    """The coefficients above at K timesteps, each float32 [K], with the `weights` of the K losses
    and the `times` that the denoiser is told."""

    timesteps: tuple[int, ...]
    times: Tensor
    signal: Tensor
    noise: Tensor
    of_noise: Tensor
    of_latents: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.timesteps)


def noise_schedule(
    scheduler: Any,
    timesteps: int | Sequence[int],
    weighting: Weighting | Sequence[float],
    snr_gamma: float,
) -> NoiseSchedule:
    """The schedule that a pipeline was trained on, whichever scheduler it samples with.

    Args:
        scheduler: A pipeline's. It is read, not changed.
        timesteps: Which, in increasing noise: 0 … N−1 for diffusion, 1 … N for flow matching
            (unshifted, in Nths), N being the scheduler's; or how many, evenly spaced.
        weighting: By name, as in diffusers' scripts and in their scale (see `TextToImage`); or K
            weights.
        snr_gamma: γ of "snr".

    Raises:
        ModelError: a scheduler of another kind.
        OptionError: timesteps that it has not, a weighting that it does not know.
    """
    if getattr(scheduler.config, "num_train_timesteps", None) is None:
        raise _unknown(type(scheduler).__name__)
    total, flow = int(scheduler.config.num_train_timesteps), is_flow(scheduler)
    chosen = _timesteps(timesteps, total, first=1 if flow else 0)
    base = _flow(scheduler, chosen) if flow else _diffusion(scheduler, chosen)
    weights = _weights(base, weighting, snr_gamma, flow=flow)
    return NoiseSchedule(**(vars(base) | {"weights": weights}))


def shared_noise(timesteps: Sequence[int], shape: Sequence[int], seed: int) -> Tensor:
    """ε of each timestep, float32 [K, *shape] on the CPU: of its seed and timestep alone, so the
    same on every device, in every batch and beside whichever other timesteps."""
    drawn = []
    for timestep in timesteps:
        generator = torch.Generator().manual_seed(int(digest([seed, timestep])[:15], 16))
        drawn.append(torch.randn(*shape, generator=generator))
    return torch.stack(drawn)


def is_flow(scheduler: Any) -> bool:
    """Whether a scheduler is one of flow matching."""
    return type(scheduler).__name__.startswith("FlowMatch")


def _timesteps(timesteps: int | Sequence[int], total: int, first: int) -> tuple[int, ...]:
    if isinstance(timesteps, int):
        if timesteps < 1:
            raise OptionError(f"the number of timesteps must be at least 1, got {timesteps}")
        middle = [(FIRST + LAST) / 2] if timesteps == 1 else None
        shares = middle or torch.linspace(FIRST, LAST, timesteps, dtype=torch.float64).tolist()
        chosen = [max(first, round(share * total)) for share in shares]
    else:
        chosen = [int(timestep) for timestep in timesteps]
    last = first + total - 1
    outside = [timestep for timestep in chosen if not first <= timestep <= last]
    if not chosen or outside or len(set(chosen)) < len(chosen):
        what = f"{outside[0]} is outside" if outside else f"got {chosen}, none or one twice"
        raise OptionError(
            f"timesteps: {what}; the scheduler's are {first} to {last}",
            remedy="how many, 6, or which, such as 25,225,425,625,825,925",
        )
    return tuple(chosen)


def _diffusion(scheduler: Any, timesteps: tuple[int, ...]) -> NoiseSchedule:
    from diffusers import DDPMScheduler

    prediction = scheduler.config.get("prediction_type", "epsilon")
    if not hasattr(scheduler, "alphas_cumprod"):
        raise _unknown(type(scheduler).__name__)
    if prediction not in {"epsilon", "v_prediction", "sample"}:
        raise _unknown(f"{type(scheduler).__name__} with prediction_type {prediction!r}")
    # As the training scripts do; samplers such as Euler's change their tables at each use.
    training: Any = DDPMScheduler
    cumulative = training.from_config(scheduler.config).alphas_cumprod[list(timesteps)]
    signal, noise = cumulative**0.5, (1 - cumulative) ** 0.5
    one, zero = torch.ones_like(signal), torch.zeros_like(signal)
    of_noise, of_latents = {
        "epsilon": (one, zero), "v_prediction": (signal, -noise), "sample": (zero, one),
    }[prediction]  # fmt: skip
    return NoiseSchedule(
        timesteps, torch.tensor(timesteps), signal, noise, of_noise, of_latents, one
    )


def _flow(scheduler: Any, timesteps: tuple[int, ...]) -> NoiseSchedule:
    if type(scheduler).__name__ != "FlowMatchEulerDiscreteScheduler":
        raise _unknown(type(scheduler).__name__)
    fresh = type(scheduler).from_config(scheduler.config)  # set_timesteps cuts the schedule short
    positions = [len(fresh.timesteps) - timestep for timestep in timesteps]  # it counts downwards
    noise = fresh.sigmas[positions].float()
    one = torch.ones_like(noise)
    times = fresh.timesteps[positions].float()
    return NoiseSchedule(timesteps, times, 1 - noise, noise, one, -one, one)


def _weights(
    base: NoiseSchedule, weighting: Weighting | Sequence[float], snr_gamma: float, *, flow: bool
) -> Tensor:
    if not isinstance(weighting, str):
        weights = torch.tensor([float(weight) for weight in weighting])
        if len(weights) != len(base):
            raise OptionError(f"{len(weights)} weights for {len(base)} timesteps")
    elif weighting not in (FLOW if flow else DIFFUSION):
        kind = "flow matching" if flow else "diffusion"
        known = ", ".join(FLOW if flow else DIFFUSION)
        stated = "unknown" if weighting not in get_args(Weighting) else f"not for {kind}"
        raise OptionError(
            f"weighting {weighting!r} is {stated}", remedy=f"one of {known}, or a weight a timestep"
        )
    elif weighting == "snr":
        weights = _min_snr(base, snr_gamma)
    else:
        weights = {
            "none": torch.ones_like(base.noise),
            "sigma_sqrt": base.noise**-2,
            "cosmap": 2 / (torch.pi * (1 - 2 * base.noise + 2 * base.noise**2)),
            "sigma_squared": base.noise**2,
        }[weighting]
    if not torch.isfinite(weights).all() or bool((weights < 0).any()) or not weights.any():
        raise OptionError(
            f"the weights of the timesteps are {weights.tolist()}",
            remedy="finite, not negative, not all zero; leave out a timestep that is all noise",
        )
    return weights


def _min_snr(base: NoiseSchedule, gamma: float) -> Tensor:
    """min(SNR, γ) in units of x_0, turned into those of the target (Hang et al. 2023)."""
    if not gamma > 0:
        raise OptionError(f"snr_gamma must be positive, got {gamma}")
    snr = (base.signal / base.noise) ** 2
    # ‖error of x_0‖² = ‖error of ε‖² / SNR = ‖error of v‖² / (SNR + 1)
    of_latents = not base.of_noise.any()
    per_target = torch.ones_like(snr) if of_latents else snr + base.of_latents.ne(0)
    return snr.clamp(max=gamma) / per_target


def _unknown(kind: str) -> ModelError:
    return ModelError(
        f"the training loss for a pipeline with the scheduler {kind} is not known",
        remedy="a scheduler with epsilon, v_prediction or sample targets, or "
        "FlowMatchEulerDiscreteScheduler; or datainf.tasks.Custom with your own loss",
    )
