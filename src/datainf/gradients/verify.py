"""The check at every start: batched gradients against one-at-a-time autograd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import send_to_device
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor, nn

from datainf.errors import DatainfError, ModelError, VerificationError
from datainf.gradients.capture import BatchGradients, batch_losses, requiring_grad
from datainf.gradients.precision import (
    all_finite,
    floor_of,
    is_half,
    loss_scales,
    tolerance_of,
)
from datainf.tasks import Task
from datainf.tasks.inputs import base_model


class LossFailedError(ModelError):
    """A model's own code, or a person's own loss or collator, fails for one example alone. `place`:
    which of those that were taken together."""

    place = 0


def verify_losses(
    model: nn.Module, task: Task, found: BatchGradients, truth: BatchGradients
) -> None:
    """Raises `VerificationError` where an example loses something else in a batch than alone:
    then the model mixes examples or counts padding, and no gradient can be trusted."""
    tolerance = tolerance_of(model)
    for row, (loss, alone) in enumerate(zip(found.losses, truth.losses, strict=True)):
        if error(loss, alone, floor=task.loss_floor) > tolerance:
            raise VerificationError(
                f"example {row} of the first ones loses {float(loss):.6g} in a batch and "
                f"{float(alone):.6g} alone. Likely causes: the model mixes the examples of a batch "
                "or counts padding, or its forward is not deterministic",
                remedy="check the padding token and attention mask; or batch_tokens=1 "
                "(--batch-tokens 1), which puts every example alone",
            )


def differing(model: nn.Module, found: BatchGradients, truth: BatchGradients) -> dict[str, str]:
    """The blocks whose gradients are something else in a batch than for the example alone, each
    with the first difference in words."""
    tolerance = tolerance_of(model)
    totals = torch.stack([gradient.norm(dim=1) for gradient in truth.gradients.values()]).norm(
        dim=0
    )
    # A block that is little beside the others is judged by their scale, not its own; so is an
    # example whose gradient is nothing but rounding, such as a pair of two completions alike.
    floor = floor_of(model) * float(totals.nan_to_num(0.0, posinf=0.0).max())
    different = {}
    for name, gradients in truth.gradients.items():
        for row, gradient in enumerate(gradients):
            off = error(found.gradients[name][row], gradient, floor=floor)
            if off > tolerance:
                different[name] = (
                    f"{name}: its gradient, computed in a batch, differs from plain autograd on "
                    f"example {row} alone by {off:.1e} of its norm (allowed: {tolerance:.0e})"
                )
                break
    return different


def beyond_rounding(
    model: nn.Module,
    chosen: dict[str, nn.Parameter],
    task: Task,
    examples: Sequence[Any],
    device: torch.device,
    found: BatchGradients,
    truth: BatchGradients,
) -> dict[str, str]:
    """As `differing`, without the blocks of a half-precision model that differ by rounding alone.

    There a batch's activations, in another order of summation, may give a small block another
    gradient by more than the tolerance. It is rounding if the examples' whole gradients are near
    to the truth, so that neither padding nor another example counts, and the block's is what
    plain autograd gives for the losses of the very same batch, so that no term is missed and no
    row mixed up.
    """
    different = differing(model, found, truth)
    if not different or not is_half(model):
        return different
    right, batched = (
        torch.cat([g.gradients[name].double() for name in chosen], dim=1) for g in (truth, found)
    )
    apart = (batched - right).norm(dim=1)
    if bool((apart > tolerance_of(model) / 2 * right.norm(dim=1)).any()):
        return different
    return differing(model, found, each_in_batch(model, chosen, task, examples, device))


def one_at_a_time(
    model: nn.Module,
    chosen: dict[str, nn.Parameter],
    task: Task,
    example: Any,
    device: torch.device,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The truth: one example's loss and its gradient [d_l] a block, by plain autograd."""
    found = one_alone(model, chosen, task, example, device)
    return found.losses[0], {name: gradient[0] for name, gradient in found.gradients.items()}


def each_alone(
    model: nn.Module,
    chosen: dict[str, nn.Parameter],
    task: Task,
    examples: Sequence[Any],
    device: torch.device,
) -> BatchGradients:
    """Plain autograd for one example after another: exact for whatever autograd can do."""
    found = []
    for place, example in enumerate(examples):
        try:
            found.append(one_alone(model, chosen, task, example, device))
        except LossFailedError as error:
            error.place = place
            raise
    return together(found)


def one_alone(
    model: nn.Module,
    chosen: dict[str, nn.Parameter],
    task: Task,
    example: Any,
    device: torch.device,
) -> BatchGradients:
    """Plain autograd for one example, a batch of one."""
    with _failing_plainly(task, model):
        batch = send_to_device(task.collate([example]), device)
    for scale in loss_scales(model):
        with requiring_grad(chosen), torch.enable_grad():
            with _failing_plainly(task, model):
                parts = batch_losses(task, model, batch, 1).reshape(-1)
            found = [_gradients(part * scale, chosen, keep=len(parts) > 1) for part in parts]
        if scale == 1 or _finite(found):
            break
    unused = [name for name in chosen if all(part[name] is None for part in found)]
    flat = [_flat(part, chosen, scale, parts.device) for part in found]
    gradients = {name: torch.cat([part[name] for part in flat])[None] for name in chosen}
    return BatchGradients(parts.mean().detach()[None], gradients, unused)


@contextmanager
def _failing_plainly(task: Task, model: nn.Module) -> Iterator[None]:
    """Raises `LossFailedError` for what a model's own code raises, or a person's own loss, where
    nothing of ours is around it: a row it cannot take, adapters that do not go with the base,
    libraries that do not go together."""
    try:
        yield
    except (DatainfError, MemoryError, OSError):
        raise
    except Exception as error:
        if should_reduce_batch_size(error) or _is_of_device(error):
            raise
        what = (str(error).splitlines() or [""])[0]
        raise LossFailedError(
            f"this example, taken alone by {type(base_model(model)).__name__} and the task "
            f"{task.name}, ends with {type(error).__name__}: {what}",
            remedy="look at the example; or, if it is the same with others, a model, an adapter "
            "and a loss that work without datainf, with the installed versions of transformers "
            "and peft",
        ) from error


def _is_of_device(error: Exception) -> bool:
    """Whether a device says so: once it has failed, whatever it is asked next fails as well, and no
    example is to blame that comes then."""
    is_named = isinstance(error, getattr(torch, "AcceleratorError", ()))  # from torch 2.8 on
    return is_named or str(error).startswith(("CUDA error", "HIP error", "cuDNN error"))


def together(found: Sequence[BatchGradients]) -> BatchGradients:
    """One after another's rows."""
    first = found[0]
    return BatchGradients(
        torch.cat([one.losses for one in found]),
        {name: torch.cat([one.gradients[name] for one in found]) for name in first.gradients},
        [name for name in first.unused if all(name in one.unused for one in found)],
    )


def each_in_batch(
    model: nn.Module,
    chosen: dict[str, nn.Parameter],
    task: Task,
    examples: Sequence[Any],
    device: torch.device,
) -> BatchGradients:
    """Plain autograd for one loss after another of one forward pass of all examples: as slow as
    `each_alone`, and rounded as in a batch."""
    batch, size = send_to_device(task.collate(examples), device), len(examples)
    for scale in loss_scales(model):
        with requiring_grad(chosen), torch.enable_grad():
            losses = batch_losses(task, model, batch, size).reshape(size, -1)
            found = [
                [_gradients(part * scale, chosen, keep=True) for part in row] for row in losses
            ]
        if scale == 1 or _finite(part for row in found for part in row):
            break
    flat = [[_flat(part, chosen, scale, losses.device) for part in row] for row in found]
    gradients = {
        name: torch.stack([torch.cat([part[name] for part in row]) for row in flat])
        for name in chosen
    }
    return BatchGradients(losses.mean(dim=1).detach(), gradients, [])


def _gradients(
    loss: Tensor, chosen: dict[str, nn.Parameter], *, keep: bool
) -> dict[str, Tensor | None]:
    if not loss.requires_grad:
        return dict.fromkeys(chosen)
    gradients = torch.autograd.grad(
        loss, list(chosen.values()), allow_unused=True, retain_graph=keep
    )
    return dict(zip(chosen, gradients, strict=True))


def _flat(
    gradients: dict[str, Tensor | None],
    chosen: dict[str, nn.Parameter],
    scale: float,
    device: torch.device,
) -> dict[str, Tensor]:
    """[d_l], float32 or better, of the unscaled loss, all on one device."""
    found = {}
    for name, gradient in gradients.items():
        gradient = torch.zeros_like(chosen[name]) if gradient is None else gradient
        gradient = gradient.detach().reshape(-1).to(device)
        found[name] = (gradient if gradient.itemsize >= 4 else gradient.float()) / scale
    return found


def _finite(found: Iterable[dict[str, Tensor | None]]) -> bool:
    return all_finite(g for gradients in found for g in gradients.values() if g is not None)


def error(found: Tensor, truth: Tensor, *, floor: float) -> float:
    """Relative to the truth's norm, or to `floor` if that is larger."""
    found, truth = found.double().cpu(), truth.double().cpu()
    if not torch.isfinite(truth).all():
        return 0.0  # reported, with the example's name, by the collection itself
    off, scale = float((found - truth).norm()), max(float(truth.norm()), floor)
    return off / scale if scale else off
