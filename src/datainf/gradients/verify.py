"""The check at every start: batched gradients against one-at-a-time autograd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from datainf.errors import VerificationError
from datainf.gradients.capture import GradientCapture
from datainf.tasks import Task

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3, torch.bfloat16: 0.2, torch.float16: 0.05}
"""Relative to a block's gradient norm. Wide enough for another order of summation in the model's
dtype, far too narrow for a missed term, a mixed-up row or a padding token."""


def verify(
    capture: GradientCapture, task: Task, examples: Sequence[Any], device: torch.device
) -> None:
    """Compare a batch of the examples with each alone under plain autograd, losses and all blocks.

    Raises `VerificationError` at the first that differs.
    """
    batch = send_to_device(task.collate(examples), device)
    found = capture(task, batch, len(examples))
    tolerance = max(TOLERANCE.get(p.dtype, 1e-3) for p in capture.model.parameters())
    for row, example in enumerate(examples):
        loss, gradients = one_at_a_time(capture.model, capture.chosen, task, example, device)
        _compare(f"the loss of example {row}", found.losses[row], loss, tolerance, floor=0.0)
        total = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
        for name, gradient in gradients.items():
            # A block that is nothing beside the others is judged by their scale, not its own.
            floor = 1e-4 * float(total)
            what = f"the gradient of {name} for example {row}"
            _compare(what, found.gradients[name][row], gradient, tolerance, floor=floor)


def one_at_a_time(
    model: nn.Module,
    chosen: dict[str, nn.Parameter],
    task: Task,
    example: Any,
    device: torch.device,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The truth: one example's loss and its gradient [d_l] a block, by plain autograd."""
    batch = send_to_device(task.collate([example]), device)
    with _requiring_grad(chosen), torch.enable_grad():
        loss = task.losses(model, batch).sum()
        gradients = torch.autograd.grad(loss, list(chosen.values()), allow_unused=True)
    return loss.detach(), {
        name: (torch.zeros_like(parameter) if gradient is None else gradient).detach().reshape(-1)
        for (name, parameter), gradient in zip(chosen.items(), gradients, strict=True)
    }


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


def _compare(what: str, found: Tensor, truth: Tensor, tolerance: float, *, floor: float) -> None:
    found, truth = found.double().cpu(), truth.double().cpu()
    if not torch.isfinite(truth).all():
        return  # reported, with the example's name, by the collection itself
    error, scale = float((found - truth).norm()), max(float(truth.norm()), floor)
    if error > tolerance * scale:
        raise VerificationError(
            f"{what} is wrong when computed in a batch: it differs from plain autograd on the "
            f"example alone by {error / scale if scale else error:.1e} of its norm (allowed: "
            f"{tolerance:.0e}). Likely causes: the model mixes the examples of a batch or counts "
            "padding, its forward is not deterministic, or it uses a parameter outside the "
            "module that holds it",
            remedy="check the padding token and attention mask; leave the parameter out with "
            "--trainable; or --batch-tokens 1, which puts every example alone",
        )
