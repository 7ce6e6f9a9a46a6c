"""Scores of one checkpoint: every block read once if it fits in memory, else once a product.

Blocks are taken one after another, score = Σ_l v_qᵀ F_l⁻¹ g_k, each with its own λ_l. What the
options make of gradients is settled in `datainf.views`, so that estimators see nothing but
matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from datainf.errors import NonFiniteError
from datainf.estimators import Estimator
from datainf.linalg import Damping, GradientMatrix
from datainf.progress import Progress
from datainf.store import GradientStore
from datainf.views import Views

QUERY_BYTES = 256 * 2**20
"""Upper bound on the bytes of query gradients that are solved at one time."""
HELD_BYTES = 64 * 2**20
"""A block of no more bytes is kept in memory while its products are taken."""


@dataclass(frozen=True)
class Block:
    """A block's training gradients and the rows of its curvature: one object where they are the
    same."""

    train: GradientMatrix
    curvature: GradientMatrix

    @property
    def other(self) -> GradientMatrix | None:
        """The training gradients where they are not the curvature's rows."""
        return None if self.curvature is self.train else self.train


def blocks_of(views: Views, device: torch.device) -> Iterator[tuple[str, Block]]:
    """Every block, on the device, read into memory if it fits."""
    for name, G in views.train.items():
        train = near(G, device)
        curvature = views.curvature[name]
        yield name, Block(train, train if curvature is G else near(curvature, device))


def near(G: GradientMatrix, device: torch.device) -> GradientMatrix:
    """A block on the device, read into memory if it fits."""
    G = G.to(device=device)
    return G.held() if held_bytes(G) else G


def held_bytes(G: GradientMatrix) -> int:
    """What a block takes in memory; 0 if it does not fit."""
    return G.nbytes if G.nbytes <= HELD_BYTES else 0


@dataclass
class Trace:
    """What a block's solve used and how far it was from done; kept in `Scores.diagnostics`."""

    damping_lambda: float
    residual: float | None = None

    def add(self, residual: float | None) -> None:
        if residual is not None:
            self.residual = max(residual, self.residual or 0.0)


Traces = dict[str, Trace]


def score(
    views: Views,
    query: GradientStore,
    estimator: Estimator,
    dampings: Sequence[Damping],
    device: torch.device,
    progress: Progress,
) -> list[tuple[Tensor, Traces]]:
    """Scores [m, n] at one checkpoint, float32 on the CPU, for every damping."""
    V_all, m, n = views.of(query), len(query), len(views.store)
    advance = progress.stage(f"scores by {estimator.name}", len(views.train))
    values = [torch.zeros((m, n), device=device) for _ in dampings]
    traces: list[Traces] = [{} for _ in dampings]
    for name, block in blocks_of(views, device):
        fitted = None
        for total, traced, damping in zip(values, traces, dampings, strict=True):
            lam = damping.lambda_of(block.curvature)
            traced[name] = Trace(lam)
            if lam == 0:  # every gradient of the block is zero
                continue
            fitted = fitted or estimator.fit(block.curvature)
            for rows, V in query_batches(V_all[name], device):
                found = fitted.scores(V, lam, block.other)
                total[rows] += found.values
                traced[name].add(found.residual)
        advance(1)
    return [
        (finite(total.cpu(), estimator), traced)
        for total, traced in zip(values, traces, strict=True)
    ]


def self_influence(
    views: Views,
    estimator: Estimator,
    damping: Damping,
    device: torch.device,
    progress: Progress,
) -> Tensor:
    """Score(k, k) of every training example at one checkpoint, [n], float32."""
    advance = progress.stage(f"self-influence by {estimator.name}", len(views.train))
    total = torch.zeros(len(views.store), device=device)
    for _, block in blocks_of(views, device):
        if (lam := damping.lambda_of(block.curvature)) > 0:
            total += estimator.fit(block.curvature).self_influence(lam, block.other).values
        advance(1)
    return finite(total.cpu() * views.as_query.float(), estimator)


def query_batches(V: GradientMatrix, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
    """Queries [m, d] in batches of at most `QUERY_BYTES`."""
    m, d = V.shape
    step = max(1, QUERY_BYTES // (d * V.dtype.itemsize))
    for start in range(0, m, step):
        stop = min(m, start + step)
        yield slice(start, stop), V.to(device=device).rows(start, stop)


def told(traces: Traces) -> dict[str, Any]:
    """The diagnostics of one checkpoint."""
    return {"blocks": {name: asdict(trace) for name, trace in traces.items()}}


def finite(values: Tensor, estimator: Estimator) -> Tensor:
    """The values; raises `NonFiniteError` if some are not finite."""
    if not torch.isfinite(values).all():
        raise NonFiniteError(
            f"the scores by {estimator.name} are not finite: they left the range of float32",
            remedy="a larger --damping; datainf inspect shows the norms by block",
        )
    return values
