"""The loops of the code that was released with the DataInf paper, written anew from what they do.

They are the baseline that the paper's runtimes are of: gradients one example at a time, each a
dictionary of tensors, and Python loops over blocks and examples. For the mean validation gradient
v, blocks l and training gradients g_i each method makes r_l ≈ F_l⁻¹ v_l and then the scores
Σ_l r_l · g_k,l.

**Sign.** Scores here have the package's sign, positive = helpful. What the released code returns is
the paper's influence, their negative.

**Timers.** The released timers run from the damping to r: neither the gradients nor the products
with r are in them. `Timing` holds that, and the time with the products.

Two more of its habits concern losses and not these loops, and belong to the experiments on text:
Llama's gradients are taken on the prompt alone, and padding counts in the loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import datainf
from datainf.estimators import LiSSA
from datainf.gradients.evaluating import evaluating
from datainf.linalg import from_dense
from datainf.tasks import Task

Gradients = dict[str, Tensor]
"""One example's gradient: parameter name → tensor of the parameter's shape."""
ALPHA = 0.1


def has_curvature(name: str) -> bool:
    """The parameters that the released code takes gradients of: biases and the dense layer of a
    classifier's head are trained, and left out."""
    return not name.endswith(".bias") and not ("classifier" in name and ".dense." in name)


@dataclass(frozen=True)
class Quirks:
    """Where the released code does something else than the paper says. The defaults are its own.

    include: whether a parameter's gradients are taken, by name.
    weighted: divide `hessian_free` by each block's λ, as every other method does.
    lissa_as_released: subtract the damping and do not scale; else add it, and scale by
        1/λ_max so that the series converges.
    symmetric: know, in `exact`, that the matrix is symmetric.
    """

    include: Callable[[str], bool] = has_curvature
    weighted: bool = False
    lissa_as_released: bool = True
    lissa_steps: int = 10
    symmetric: bool = False


AS_RELEASED = Quirks()


def trainable(model: nn.Module, quirks: Quirks = AS_RELEASED) -> str:
    """The trained parameters that are not left out, as `datainf.collect` wants them told."""
    return ",".join(_chosen(model, quirks))


def _chosen(model: nn.Module, quirks: Quirks) -> dict[str, nn.Parameter]:
    return {n: p for n, p in model.named_parameters() if p.requires_grad and quirks.include(n)}


@dataclass(frozen=True)
class Timing:
    """Seconds: from damping to r, which the released timers show, and to the scores."""

    as_released: float
    with_products: float


@dataclass(frozen=True)
class Scored:
    """Scores [n] of the training examples, positive = helpful, and what they took."""

    scores: Tensor
    timing: Timing


def gradients(
    model: nn.Module, task: Task, examples: Iterable[Any], quirks: Quirks = AS_RELEASED
) -> list[Gradients]:
    """Each example's gradient, from a batch of its own."""
    chosen, found = _chosen(model, quirks), []
    with evaluating(model):
        for example in examples:
            model.zero_grad()
            batch = task.collate([example])
            device = next(iter(chosen.values())).device
            losses = task.losses(model, {key: value.to(device) for key, value in batch.items()})
            losses.mean().backward()  # type: ignore[no-untyped-call]  # torch gives it no types
            found.append({name: _gradient(p).detach().cpu().clone() for name, p in chosen.items()})
        model.zero_grad()
    return found


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def from_store(store: datainf.GradientStore, quirks: Quirks = AS_RELEASED) -> list[Gradients]:
    """A store's gradients as the loops want them, each tensor in memory of its own."""
    chosen = [block for block in store.index.blocks if quirks.include(block.name)]
    found: list[Gradients] = [{} for _ in range(len(store))]
    for block in chosen:
        for row, gradient in zip(store.blocks[block.name].to_dense(), found, strict=True):
            gradient[block.name] = row.reshape(block.shape).clone()
    return found


def mean(examples: Sequence[Gradients]) -> Gradients:
    """The mean gradient, v of a validation set."""
    total = {name: torch.zeros_like(g) for name, g in examples[0].items()}
    for gradient in examples:
        for name, g in gradient.items():
            total[name] += g / len(examples)
    return total


def hessian_free(train: Sequence[Gradients], v: Gradients, quirks: Quirks = AS_RELEASED) -> Scored:
    """r = v, and where `weighted` r_l = v_l/λ_l."""
    return _scored(train, v, lambda g, v_l: v_l / damping(g) if quirks.weighted else v_l.clone())


def datainf_loop(train: Sequence[Gradients], v: Gradients, quirks: Quirks = AS_RELEASED) -> Scored:
    """r_l = Σ_i (v_l − (v_l·g_i)/(λ + ‖g_i‖²) g_i)/(nλ)."""
    del quirks  # it has none

    def solve(gradients: list[Tensor], v_l: Tensor) -> Tensor:
        lam, n = damping(gradients), len(gradients)
        r = torch.zeros_like(v_l)
        for g in gradients:
            share = (v_l * g).sum() / (lam + g.square().sum())
            r += (v_l - share * g) / (n * lam)
        return r

    return _scored(train, v, solve)


def lissa(train: Sequence[Gradients], v: Gradients, quirks: Quirks = AS_RELEASED) -> Scored:
    """r ← v + r − mean_i((g_i·r) g_i − λr); rightly r ← v + r − s·mean_i((g_i·r) g_i + λr), times
    s in the end.

    s is what `datainf.estimators.LiSSA` takes, by power iteration on the dense block.
    """

    def solve(gradients: list[Tensor], v_l: Tensor) -> Tensor:
        lam, n = damping(gradients), len(gradients)
        scale, damped = 1.0, -lam
        if not quirks.lissa_as_released:
            block = from_dense(torch.stack(gradients).flatten(1))
            scale, damped = 1 / (LiSSA().fit(block).top_eigenvalue + lam), lam
        r = v_l.clone()
        for _ in range(quirks.lissa_steps):
            product = torch.zeros_like(r)
            for g in gradients:
                product += ((g * r).sum() * g + damped * r) / n
            r = v_l + r - scale * product
        return scale * r

    return _scored(train, v, solve)


def exact(train: Sequence[Gradients], v: Gradients, quirks: Quirks = AS_RELEASED) -> Scored:
    """r_l = Q (S/n + λ)⁻¹ Qᵀ v_l, where Σ_i g_i g_iᵀ = Q S Q⁻¹, the sum made a term at a time.

    Qᵀ is not Q⁻¹ where eigenvalues repeat, unless the decomposition knows the matrix for symmetric.
    """

    def solve(gradients: list[Tensor], v_l: Tensor) -> Tensor:
        d, n, lam = v_l.numel(), len(gradients), damping(gradients)
        total = torch.zeros((d, d), dtype=v_l.dtype)
        for g in gradients:
            total += torch.outer(g.flatten(), g.flatten())
        if quirks.symmetric:
            S, Q = torch.linalg.eigh(total)
        else:
            S, Q = (part.real for part in torch.linalg.eig(total))
        r: Tensor = ((v_l.flatten() @ Q) / (lam + S / n)) @ Q.T
        return r.reshape(v_l.shape)

    return _scored(train, v, solve)


METHODS: dict[str, Callable[[Sequence[Gradients], Gradients, Quirks], Scored]] = {
    "gradient": hessian_free,
    "datainf": datainf_loop,
    "lissa": lissa,
    "exact": exact,
}
"""By the name of the package's method that is its like."""


def damping(gradients: Sequence[Tensor]) -> float:
    """λ_l = 0.1 · mean_i ‖g_i‖² / d_l, summed an example at a time."""
    total = 0.0
    for g in gradients:
        total += float(g.square().mean())
    return ALPHA * total / len(gradients)


def _scored(
    train: Sequence[Gradients], v: Gradients, solve: Callable[[list[Tensor], Tensor], Tensor]
) -> Scored:
    """r_l = solve(the block's training gradients, v_l) for every block, then the products."""
    started = time.perf_counter()
    r = {name: solve([gradient[name] for gradient in train], v_l) for name, v_l in v.items()}
    solved = time.perf_counter()
    scores = [
        sum(float((r_l * gradient[name]).sum()) for name, r_l in r.items()) for gradient in train
    ]
    ended = time.perf_counter()
    return Scored(
        torch.tensor(scores, dtype=torch.float64), Timing(solved - started, ended - started)
    )
