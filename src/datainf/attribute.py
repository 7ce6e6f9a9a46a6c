"""attribute: (training store, query store, estimator) → Scores.

Blocks are taken one after another: score = Σ_l v_qᵀ F_l⁻¹ g_k, with one λ_l each. What counts as
a block (`blocks`) and whether examples count by their direction alone (`normalize`) are settled
here, so that estimators see nothing but matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from datainf.errors import NonFiniteError, OptionError
from datainf.estimators import Estimator, from_name
from datainf.linalg import Damping, GradientMatrix, RowScaled, hstack, unit_scale
from datainf.progress import Progress, Silent
from datainf.scores import Scores
from datainf.store import GradientStore

Normalize = Literal["none", "unit"]
Blocks = Literal["tensor", "module", "model"]

QUERY_BYTES = 256 * 2**20
"""Upper bound on the bytes of query gradients of one block that are solved at one time."""


def attribute(
    train: GradientStore,
    query: GradientStore,
    method: str | Estimator = "datainf",
    *,
    damping: float | str | Damping = Damping(),  # noqa: B008 - frozen
    normalize: Normalize = "none",
    blocks: Blocks = "tensor",
    steps: int | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Scores [m, n] of every (query, training example) pair, positive = helpful.

    Args:
        train, query: Stores collected from the same weights.
        method: `datainf`, `exact`, `cg`, `lissa`, `gradient`, `weighted-gradient`, or an estimator
            with its own settings.
        damping: λ of a block; a number α means α · mean ‖g‖² / d (the paper's, 0.1). See `Damping`.
        normalize: `unit` scales each example's and query's whole gradient to norm 1, so that
            `gradient` is cosine similarity.
        blocks: `tensor` (the paper's), `module` (an adapter's tensors together) or `model` (no
            block-diagonal approximation).
        steps: of `cg` or `lissa`.

    Raises:
        OptionError: an unknown method or option.
        StoreMismatchError: the stores come from different weights or blocks.
        StoreCorruptError: a store's bytes are not the ones that were written.
    """
    return sweep(
        train,
        query,
        method,
        dampings=[damping],
        normalize=normalize,
        blocks=blocks,
        steps=steps,
        progress=progress,
    )[0]


def sweep(
    train: GradientStore,
    query: GradientStore,
    method: str | Estimator = "datainf",
    *,
    dampings: Sequence[float | str | Damping],
    normalize: Normalize = "none",
    blocks: Blocks = "tensor",
    steps: int | None = None,
    progress: Progress | None = None,
) -> list[Scores]:
    """`attribute` for several dampings; `exact` then factors each block's matrix once for all."""
    estimator = from_name(method, steps=steps)
    parsed = [Damping.parse(damping) for damping in dampings]
    train.require_same_model(query)
    G_all, V_all = views(train, blocks, normalize), views(query, blocks, normalize)
    advance = (progress or Silent()).stage(f"scores by {estimator.name}", len(G_all))
    values = [torch.zeros((len(query), len(train))) for _ in parsed]
    traces: list[dict[str, Any]] = [{} for _ in parsed]
    for name, G in G_all.items():
        fitted = None
        for position, damping in enumerate(parsed):
            lam = damping.lambda_of(G)
            traces[position][name] = trace = _Trace(lam)
            if lam == 0:  # every gradient of the block is zero
                continue
            fitted = fitted or estimator.fit(G)
            for rows, V in _query_batches(V_all[name]):
                found = fitted.scores(V, lam)
                values[position][rows] += found.values.float()
                trace.add(found.residual)
        advance(1)
    return [
        Scores(
            _finite(value, estimator),
            query.ids,
            train.ids,
            estimator.name,
            _settings(estimator, damping, normalize, blocks),
            {"blocks": {name: asdict(trace) for name, trace in traced.items()}},
        )
        for value, traced, damping in zip(values, traces, parsed, strict=True)
    ]


def self_influence(
    train: GradientStore,
    method: str | Estimator = "datainf",
    *,
    damping: float | str | Damping = Damping(),  # noqa: B008 - frozen
    normalize: Normalize = "none",
    blocks: Blocks = "tensor",
    steps: int | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Score(k, k) of every training example, [n], float32, without the n×n matrix of scores."""
    estimator = from_name(method, steps=steps)
    parsed = Damping.parse(damping)
    G_all = views(train, blocks, normalize)
    advance = (progress or Silent()).stage(f"self-influence by {estimator.name}", len(G_all))
    total = torch.zeros(len(train))
    for G in G_all.values():
        if (lam := parsed.lambda_of(G)) > 0:
            total += estimator.fit(G).self_influence(lam).values.float()
        advance(1)
    return _finite(total, estimator)


def views(store: GradientStore, blocks: Blocks, normalize: Normalize) -> dict[str, GradientMatrix]:
    """A store's gradients as the blocks that were asked for: name → [n, d]."""
    if blocks not in get_args(Blocks):
        raise OptionError(f"unknown blocks {blocks!r}", remedy="tensor, module or model")
    if normalize not in get_args(Normalize):
        raise OptionError(f"unknown normalize {normalize!r}", remedy="none or unit")
    groups: dict[str, list[GradientMatrix]] = {}
    for block in store.index.blocks:
        group = {"tensor": block.name, "module": block.module, "model": "model"}[blocks]
        groups.setdefault(group, []).append(store.blocks[block.name])
    matrices = {group: hstack(parts) for group, parts in groups.items()}
    if normalize == "none":
        return matrices
    scale = unit_scale(store.sq_norms.double().sum(dim=1))
    return {group: RowScaled(matrix, scale) for group, matrix in matrices.items()}


@dataclass
class _Trace:
    """What a block's solve used and how far it was from done; kept in `Scores.diagnostics`."""

    damping_lambda: float
    residual: float | None = None

    def add(self, residual: float | None) -> None:
        if residual is not None:
            self.residual = max(residual, self.residual or 0.0)


def _query_batches(V: GradientMatrix) -> Iterator[tuple[slice, Tensor]]:
    m, d = V.shape
    step = max(1, QUERY_BYTES // (d * V.dtype.itemsize))
    for start in range(0, m, step):
        stop = min(m, start + step)
        yield slice(start, stop), V.rows(start, stop)


def _settings(
    estimator: Estimator, damping: Damping, normalize: Normalize, blocks: Blocks
) -> dict[str, Any]:
    options: dict[str, Any] = {
        "damping": str(damping),
        "normalize": normalize,
        "blocks": blocks,
    }
    steps = getattr(estimator, "steps", None)
    return options if steps is None else {**options, "steps": steps}


def _finite(values: Tensor, estimator: Estimator) -> Tensor:
    if not torch.isfinite(values).all():
        raise NonFiniteError(
            f"the scores by {estimator.name} are not finite: they left the range of float32",
            remedy="a larger --damping; datainf inspect shows the norms by block",
        )
    return values
