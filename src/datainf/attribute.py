"""attribute: (training store, query store, estimator) → Scores.

Blocks are taken one after another: score = Σ_l v_qᵀ F_l⁻¹ g_k, with one λ_l each. What counts as
a block (`blocks`) and whether examples count by their direction alone (`normalize`) are settled
here, so that estimators see nothing but matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor

from datainf.errors import NonFiniteError, OptionError
from datainf.estimators import Estimator, from_name
from datainf.gradient_flow import FLOW, flow_damping
from datainf.linalg import ColumnScaled, Damping, GradientMatrix, RowScaled, hstack, unit_scale
from datainf.progress import Progress, Silent
from datainf.scores import Scores, weighted_sum
from datainf.second_moments import metric_scale
from datainf.store import GradientStore

Normalize = Literal["none", "unit"]
Blocks = Literal["tensor", "module", "model"]
Metric = Literal["none", "adam", "fisher", "auto"]

DEFAULT_METHOD = "ridge"
QUERY_BYTES = 256 * 2**20
"""Upper bound on the bytes of query gradients of one block that are solved at one time."""


Stores = GradientStore | Sequence[GradientStore]
AnyDamping = float | str | Damping


def attribute(
    train: Stores,
    query: Stores,
    method: str | Estimator = DEFAULT_METHOD,
    *,
    weights: Sequence[float] | None = None,
    damping: AnyDamping | None = None,
    normalize: Normalize | None = None,
    metric: Metric | None = None,
    blocks: Blocks | None = None,
    steps: int | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Scores [m, n] of every (query, training example) pair, positive = helpful.

    Options that are not given are the method's own: for `ridge`, the default, those that foretell
    best what retraining does; for all others the paper's.

    Args:
        train, query: Stores collected from the same weights; or of several checkpoints of one
            training, a list of each, whose scores are summed.
        method: `ridge`, `datainf`, `exact`, `cg`, `lissa`, `gradient`, `weighted-gradient`, or an
            estimator with its own settings.
        weights: What each checkpoint counts: the sum of the learning rates of the steps that it
            stands for, see `datainf.checkpoints`. By default all count the same.
        damping: λ of a block; a number α means α · mean ‖g‖² / d (the paper's, 0.1). See `Damping`.
            Or `flow`, what the learning rates say, see `datainf.gradient_flow`.
        normalize: `unit` scales each example's and query's whole gradient to norm 1, so that
            `gradient` is cosine similarity.
        metric: what each parameter's gradients are multiplied by first, training and query alike:
            `none`; `adam`, v̂^-¼ with Adam's second moments v̂, if the training store has them;
            `fisher`, the same with the mean squared training gradient in place of v̂; `auto`,
            `adam` if the store has what it needs, else `fisher`.
        blocks: `tensor` (the paper's), `module` (an adapter's tensors together) or `model` (no
            block-diagonal approximation).
        steps: of `ridge`, `cg` or `lissa`.

    Raises:
        OptionError: an unknown method or option; lists of stores or weights that do not fit.
        StoreMismatchError: the stores come from different weights or blocks, or those of several
            checkpoints from different examples.
        StoreCorruptError: a store's bytes are not the ones that were written.
    """
    return sweep(
        train,
        query,
        method,
        weights=weights,
        dampings=[damping],
        normalize=normalize,
        metric=metric,
        blocks=blocks,
        steps=steps,
        progress=progress,
    )[0]


def sweep(
    train: Stores,
    query: Stores,
    method: str | Estimator = DEFAULT_METHOD,
    *,
    weights: Sequence[float] | None = None,
    dampings: Sequence[AnyDamping | None],
    normalize: Normalize | None = None,
    metric: Metric | None = None,
    blocks: Blocks | None = None,
    steps: int | None = None,
    progress: Progress | None = None,
) -> list[Scores]:
    """`attribute` for several dampings; `exact` then factors each block's matrix once for all."""
    estimator = from_name(method, steps=steps)
    options = Options.of(estimator, normalize, metric, blocks)
    checkpoints, shares = _paired(train, query, weights)
    trains = [store for store, _ in checkpoints]
    parsed = [_settled(damping, estimator, trains, weights) for damping in dampings]
    found = [_of_one(*pair, estimator, parsed, options, progress) for pair in checkpoints]
    return [weighted_sum(of_damping, shares) for of_damping in zip(*found, strict=True)]


@dataclass(frozen=True)
class Options:
    """What is done with gradients before they are solved for: a caller's choices, and the
    method's own where there are none."""

    normalize: Normalize
    metric: Metric
    blocks: Blocks

    @classmethod
    def of(
        cls, estimator: Estimator, normalize: Normalize | None, metric: Metric | None,
        blocks: Blocks | None,
    ) -> Self:  # fmt: skip
        own: Any = estimator.defaults
        return cls(normalize or own.normalize, metric or own.metric, blocks or own.blocks)

    def views(self, store: GradientStore, train: GradientStore) -> dict[str, GradientMatrix]:
        """A store's gradients, in the metric that the training store gives."""
        return views(store, self.blocks, self.normalize, metric_scales(train, self.metric))


def _settled(
    damping: AnyDamping | None, estimator: Estimator, trains: Sequence[GradientStore],
    rate_sums: Sequence[float] | None,
) -> Damping:  # fmt: skip
    damping = estimator.defaults.damping if damping is None else damping
    return flow_damping(trains, rate_sums) if damping == FLOW else Damping.parse(damping)


def _paired(
    train: Stores, query: Stores, weights: Sequence[float] | None
) -> tuple[list[tuple[GradientStore, GradientStore]], list[float]]:
    """(training store, query store) of each checkpoint, and what it counts."""
    trains, queries = (
        [stores] if isinstance(stores, GradientStore) else list(stores) for stores in (train, query)
    )
    shares = [1 / max(1, len(trains))] * len(trains) if weights is None else list(weights)
    if not len(trains) == len(queries) == len(shares) > 0:
        raise OptionError(
            f"{len(trains)} training stores, {len(queries)} query stores and {len(shares)} weights",
            remedy="one of each for every checkpoint",
        )
    if not all(0 <= share < float("inf") for share in shares) or sum(shares) == 0:
        raise OptionError(f"the weights are {shares}", remedy="finite, not negative, some above 0")
    total = sum(shares)
    pairs = list(zip(trains, queries, strict=True))
    for pair in pairs:
        pair[0].require_same_model(pair[1])
        for store, first in zip(pair, pairs[0], strict=True):
            store.require_same_examples(first)
    return pairs, [share / total for share in shares]


def _of_one(
    train: GradientStore,
    query: GradientStore,
    estimator: Estimator,
    parsed: Sequence[Damping],
    options: Options,
    progress: Progress | None,
) -> list[Scores]:
    """The scores at one checkpoint, for every damping."""
    G_all, V_all = (options.views(store, train) for store in (train, query))
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
            _settings(estimator, damping, options, train),
            {"blocks": {name: asdict(trace) for name, trace in traced.items()}},
        )
        for value, traced, damping in zip(values, traces, parsed, strict=True)
    ]


def self_influence(
    train: GradientStore,
    method: str | Estimator = DEFAULT_METHOD,
    *,
    damping: AnyDamping | None = None,
    normalize: Normalize | None = None,
    metric: Metric | None = None,
    blocks: Blocks | None = None,
    steps: int | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Score(k, k) of every training example, [n], float32, without the n×n matrix of scores."""
    estimator = from_name(method, steps=steps)
    parsed = _settled(damping, estimator, [train], None)
    G_all = Options.of(estimator, normalize, metric, blocks).views(train, train)
    advance = (progress or Silent()).stage(f"self-influence by {estimator.name}", len(G_all))
    total = torch.zeros(len(train))
    for G in G_all.values():
        if (lam := parsed.lambda_of(G)) > 0:
            total += estimator.fit(G).self_influence(lam).values.float()
        advance(1)
    return _finite(total, estimator)


def metric_of(train: GradientStore, metric: Metric) -> Metric:
    """`auto` settled: adam or fisher, by what the training store has."""
    if metric not in get_args(Metric):
        raise OptionError(f"unknown metric {metric!r}", remedy="none, adam, fisher or auto")
    if metric != "auto":
        return metric
    return "adam" if set(train.second_moments or ()) == set(train.blocks) else "fisher"


def metric_scales(train: GradientStore, metric: Metric) -> dict[str, Tensor] | None:
    """What the metric multiplies parameters by, block → [d_l]; None for `none`."""
    metric = metric_of(train, metric)
    if metric == "none":
        return None
    if metric == "fisher":
        moments = {name: G.mean_square() for name, G in train.blocks.items()}
    else:
        moments = train.second_moments or {}
        if set(moments) != set(train.blocks):
            raise OptionError(
                f"{train.path} has no second moments of Adam for {len(train.blocks)} tensors",
                remedy="collect from a checkpoint that holds optimizer.pt; or --metric fisher, the "
                "mean squared gradient in their place",
            )
    return {name: metric_scale(v) for name, v in moments.items()}


def views(
    store: GradientStore, blocks: Blocks, normalize: Normalize,
    scales: Mapping[str, Tensor] | None = None,
) -> dict[str, GradientMatrix]:  # fmt: skip
    """A store's gradients as the blocks that were asked for: name → [n, d]; each parameter
    multiplied by its `scales` [d_l] first, if there are any."""
    if blocks not in get_args(Blocks):
        raise OptionError(f"unknown blocks {blocks!r}", remedy="tensor, module or model")
    if normalize not in get_args(Normalize):
        raise OptionError(f"unknown normalize {normalize!r}", remedy="none or unit")
    groups: dict[str, list[GradientMatrix]] = {}
    for block in store.index.blocks:
        group = {"tensor": block.name, "module": block.module, "model": "model"}[blocks]
        part = store.blocks[block.name]
        groups.setdefault(group, []).append(
            part if scales is None else ColumnScaled(part, scales[block.name])
        )
    matrices = {group: hstack(parts) for group, parts in groups.items()}
    if normalize == "none":
        return matrices
    norms = [matrix.sq_norms.double() for matrix in matrices.values()]
    scale = unit_scale(torch.stack(norms).sum(dim=0))
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
    estimator: Estimator, damping: Damping, options: Options, train: GradientStore
) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "damping": str(damping),
        "normalize": options.normalize,
        "metric": metric_of(train, options.metric),
        "blocks": options.blocks,
    }
    steps = getattr(estimator, "steps", None)
    return settings if steps is None else {**settings, "steps": steps}


def _finite(values: Tensor, estimator: Estimator) -> Tensor:
    if not torch.isfinite(values).all():
        raise NonFiniteError(
            f"the scores by {estimator.name} are not finite: they left the range of float32",
            remedy="a larger --damping; datainf inspect shows the norms by block",
        )
    return values
