"""The check at every start: batched gradients against one-at-a-time autograd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from datainf.errors import VerificationError
from datainf.gradients.capture import BatchGradients, batch_losses, loss_scales
from datainf.tasks import Task

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3, torch.bfloat16: 0.2, torch.float16: 0.05}
"""Relative to a block's gradient norm. Wide enough for another order of summation in the model's
dtype, far too narrow for a missed term, a mixed-up row or a padding token."""


def tolerance_of(model: nn.Module) -> float:
    """That of the model's coarsest dtype."""
    return max((TOLERANCE.get(p.dtype, 1e-3) for p in model.parameters()), default=1e-3)


def verify_losses(model: nn.Module, found: BatchGradients, truth: BatchGradients) -> None:
    """Raises `VerificationError` where an example loses something else in a batch than alone:
    then the model mixes examples or counts padding, and no gradient can be trusted."""
    tolerance = tolerance_of(model)
    for row, (loss, alone) in enumerate(zip(found.losses, truth.losses, strict=True)):
        error = _error(loss, alone, floor=0.0)
        if error > tolerance:
            raise VerificationError(
                f"example {row} of the first ones loses {float(loss):.6g} in a batch and "
                f"{float(alone):.6g} alone. Likely causes: the model mixes the examples of a batch "
                "or counts padding, or its forward is not deterministic",
                remedy="check the padding token and attention mask; or --batch-tokens 1, which "
                "puts every example alone",
            )


def differing(model: nn.Module, found: BatchGradients, truth: BatchGradients) -> str | None:
    """The first gradient that is something else in a batch than for the example alone, in words."""
    tolerance = tolerance_of(model)
    totals = torch.stack([gradient.norm(dim=1) for gradient in truth.gradients.values()]).norm(
        dim=0
    )
    # A block that is nothing beside the others is judged by their scale, not its own; so is an
    # example whose gradient is nothing but rounding, such as a pair of two completions alike.
    floor = 1e-4 * float(totals.nan_to_num(0.0, posinf=0.0).max())
    for name, gradients in truth.gradients.items():
        for row, gradient in enumerate(gradients):
            error = _error(found.gradients[name][row], gradient, floor=floor)
            if error > tolerance:
                return (
                    f"{name}: its gradient, computed in a batch, differs from plain autograd on "
                    f"example {row} alone by {error:.1e} of its norm (allowed: {tolerance:.0e})"
                )
    return None


def one_at_a_time(
    model: nn.Module,
    chosen: dict[str, nn.Parameter],
    task: Task,
    example: Any,
    device: torch.device,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The truth: one example's loss and its gradient [d_l] a block, by plain autograd."""
    batch = send_to_device(task.collate([example]), device)
    for scale in loss_scales(model):
        with _requiring_grad(chosen), torch.enable_grad():
            parts = batch_losses(task, model, batch, 1).reshape(-1)
            found = [_gradients(part * scale, chosen, scale) for part in parts]
        gradients = {name: torch.cat([part[name] for part in found]) for name in chosen}
        if scale == 1 or all(torch.isfinite(g).all() for g in gradients.values()):
            break
    return parts.mean().detach(), gradients


def _gradients(loss: Tensor, chosen: dict[str, nn.Parameter], scale: float) -> dict[str, Tensor]:
    if not loss.requires_grad:
        return {name: torch.zeros_like(p).detach().reshape(-1) for name, p in chosen.items()}
    gradients = torch.autograd.grad(
        loss, list(chosen.values()), allow_unused=True, retain_graph=True
    )
    return {
        name: (torch.zeros_like(p) if g is None else g.float() if g.itemsize < 4 else g)
        .detach()
        .reshape(-1)
        / scale
        for (name, p), g in zip(chosen.items(), gradients, strict=True)
    }


def each_alone(
    model: nn.Module,
    chosen: dict[str, nn.Parameter],
    task: Task,
    examples: Sequence[Any],
    device: torch.device,
) -> BatchGradients:
    """`one_at_a_time` for several examples: the fallback, exact for whatever autograd can do."""
    found = [one_at_a_time(model, chosen, task, example, device) for example in examples]
    gradients = {name: torch.stack([g[name] for _, g in found]) for name in chosen}
    unused = [name for name, gradient in gradients.items() if not gradient.any()]
    return BatchGradients(torch.stack([loss for loss, _ in found]), gradients, unused)


@contextmanager
def _requiring_grad(chosen: dict[str, nn.Parameter]) -> Iterator[None]:
    frozen = [parameter for parameter in chosen.values() if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _error(found: Tensor, truth: Tensor, *, floor: float) -> float:
    """Relative to the truth's norm, or to `floor` if that is larger."""
    found, truth = found.double().cpu(), truth.double().cpu()
    if not torch.isfinite(truth).all():
        return 0.0  # reported, with the example's name, by the collection itself
    error, scale = float((found - truth).norm()), max(float(truth.norm()), floor)
    return error / scale if scale else error
