"""Attribution: (training store, query store, estimator) → Scores, or TopScores.

Options, checkpoints and stores are checked here; the work is in `datainf.scoring` and
`datainf.top_scoring`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from datainf import scoring, top_scoring, words
from datainf.devices import usable
from datainf.errors import OptionError, StoreMismatchError
from datainf.estimators import Estimator, from_name
from datainf.gradient_flow import DRAWN, OWN, RATE_SUM, flow_damping, read_damping
from datainf.linalg import Damping
from datainf.progress import Progress, Silent
from datainf.provenance import versions
from datainf.scores import Scores, TopScores, over_checkpoints, weighted_sum
from datainf.store import GradientStore, joined
from datainf.tasks.sampled import OF
from datainf.views import Blocks, Metric, Normalize, Options, Views, views_of

DEFAULT_METHOD = "gauss-newton"
WITHOUT_CURVATURE = "ridge"
"""The default where the training gradients have to stand for the curvature."""

Store = GradientStore | str | PathLike[str]
"""A store, or its folder."""
Stores = Store | Sequence[Store]
"""At one set of weights, or one at each checkpoint of a training."""
AnyDamping = float | str | Damping
AnyDevice = str | torch.device | None


def attribute(
    train: Stores,
    query: Stores,
    method: str | Estimator | None = None,
    *,
    curvature: Stores | None = None,
    weights: Sequence[float] | None = None,
    rate_sum: float | None = None,
    damping: AnyDamping | None = None,
    normalize: Normalize | None = None,
    metric: Metric | None = None,
    blocks: Blocks | None = None,
    steps: int | None = None,
    device: AnyDevice = None,
    progress: Progress | None = None,
) -> Scores:
    """Scores [m, n] of every (query, training example) pair, positive = helpful.

    Options that are not given are the method's own: for `gauss-newton` and `ridge` those that
    foretell best what retraining does; for all others the paper's.

    Args:
        train, query: Stores collected from the same weights, or their folders. Of a list, those of
            the same weights and of unlike data are read as one, see `datainf.store.joined`; those
            of several checkpoints of one training give scores that are their mean, weighted by
            `weights`.
        method: `gauss-newton`, `ridge`, `datainf`, `exact`, `cg`, `lissa`, `gradient`,
            `weighted-gradient`, or an estimator with its own settings. By default `gauss-newton`,
            or `ridge` without a curvature.
        curvature: What `collect_curvature` made at the same weights, for each checkpoint. Its rows
            then stand for the curvature in any method that has one; by default the training
            gradients do.
        weights: What each checkpoint counts beside the others, see `datainf.checkpoints`; they are
            divided by their sum. By default all count the same.
        rate_sum: The sum of the learning rates of the training's steps, for the damping `flow`; by
            default what the training stores note.
        damping: λ of a block; a number α means α · mean ‖g‖² / d (the paper's, 0.1). See `Damping`.
            Or `flow`, what the learning rates say, see `datainf.gradient_flow`.
        normalize: `unit` scales each example's and query's whole gradient to norm 1, so that
            `gradient` is cosine similarity; `queries` the queries' alone; `root` these too, and
            divides examples' by the square root of their norm. The curvature's rows are scaled as
            the examples are.
        metric: what each parameter's gradients are multiplied by first, training and query alike:
            `none`; `adam`, v̂^-¼ with Adam's second moments v̂, if the training store has them;
            `fisher`, the same with the mean squared training gradient in place of v̂; `auto`,
            `adam` if the store has what it needs, else `fisher`.
        blocks: `tensor` (the paper's), `module` (an adapter's tensors together) or `model` (no
            block-diagonal approximation).
        steps: of `ridge`, `cg` or `lissa`.
        device: where products are computed, "cpu" by default; the scores come back to the CPU.
        progress: where to show how far it is.

    Raises:
        OptionError: an unknown method or option; a device that is not there; lists of stores or
            weights that do not fit; `gauss-newton` without a curvature, or a method with one that
            has none.
        StoreError, StoreIncompleteError: a folder that is no store, or whose collection has not
            finished.
        StoreMismatchError: the stores come from different weights or blocks, or those of several
            checkpoints from different examples.
        StoreCorruptError: a store's bytes are not the ones that were written.
    """
    return sweep(
        train,
        query,
        method,
        curvature=curvature,
        weights=weights,
        rate_sum=rate_sum,
        dampings=[damping],
        normalize=normalize,
        metric=metric,
        blocks=blocks,
        steps=steps,
        device=device,
        progress=progress,
    )[0]


def sweep(
    train: Stores,
    query: Stores,
    method: str | Estimator | None = None,
    *,
    curvature: Stores | None = None,
    weights: Sequence[float] | None = None,
    rate_sum: float | None = None,
    dampings: Sequence[AnyDamping | None],
    normalize: Normalize | None = None,
    metric: Metric | None = None,
    blocks: Blocks | None = None,
    steps: int | None = None,
    device: AnyDevice = None,
    progress: Progress | None = None,
) -> list[Scores]:
    """`attribute` for several dampings; `exact` then factors each block's matrix once for all.

    Args and errors are those of `attribute`, but for

        dampings: each as `attribute` takes one; None is the method's own.

    Returns the scores of each damping, in the order of `dampings`.
    """
    asked = requested(
        train, query, method, curvature=curvature, weights=weights, rate_sum=rate_sum,
        dampings=dampings, normalize=normalize, metric=metric, blocks=blocks, steps=steps,
        device=device,
    )  # fmt: skip
    found = [
        scoring.score(
            view, queries, asked.estimator, asked.dampings, view.device, progress or Silent()
        )
        for view, queries in zip(asked.views, asked.queries, strict=True)
    ]
    return [
        _summed(asked, damping, of_damping)
        for damping, of_damping in zip(asked.dampings, zip(*found, strict=True), strict=True)
    ]


def attribute_top(
    train: Stores,
    query: Stores,
    method: str | Estimator | None = None,
    *,
    k: int = 100,
    curvature: Stores | None = None,
    weights: Sequence[float] | None = None,
    rate_sum: float | None = None,
    damping: AnyDamping | None = None,
    normalize: Normalize | None = None,
    metric: Metric | None = None,
    blocks: Blocks | None = None,
    steps: int | None = None,
    device: AnyDevice = None,
    progress: Progress | None = None,
) -> TopScores:
    """Of every query the k most helpful and the k most harmful training examples, and the mean
    score over all queries of every training example. Of fewer than k training examples all are kept
    at both ends.

    The scores are those of `attribute`, but for rounding, and the options its. The matrix [m, n] of
    all is never formed: queries are solved for in batches, and the training gradients are read
    once for each batch.

    Raises:
        OptionError: k is below 1; and whatever `attribute` raises.
    """
    if k < 1:
        raise OptionError(f"k must be at least 1, got {k}", remedy="100")
    asked = requested(
        train, query, method, curvature=curvature, weights=weights, rate_sum=rate_sum,
        dampings=[damping], normalize=normalize, metric=metric, blocks=blocks, steps=steps,
        device=device,
    )  # fmt: skip
    (parsed,), estimator, first = asked.dampings, asked.estimator, asked.views[0]
    found = top_scoring.top(
        asked.views, asked.queries, asked.shares, estimator, parsed, min(k, len(first.store)),
        first.device, progress or Silent(),
    )  # fmt: skip
    told = over_checkpoints([scoring.told(traces) for traces in found.traces], asked.shares)
    return TopScores(
        found.helpful, found.harmful, found.mean, asked.queries[0].ids, first.store.ids,
        estimator.name, _settings(estimator, parsed, first), {**told, **asked.made_by()},
    )  # fmt: skip


def _summed(
    asked: Request, damping: Damping, found: Sequence[tuple[Tensor, scoring.Traces]]
) -> Scores:
    """Scores over all checkpoints by what each counts, from those of each."""
    first, estimator = asked.views[0], asked.estimator
    summed = weighted_sum(
        [
            Scores(
                values, asked.queries[0].ids, first.store.ids, estimator.name,
                _settings(estimator, damping, first), scoring.told(traces),
            )
            for values, traces in found
        ],
        asked.shares,
    )  # fmt: skip
    return replace(summed, diagnostics={**summed.diagnostics, **asked.made_by()})


@dataclass(frozen=True)
class Request:
    """What `sweep` was asked for, checked and settled: of every checkpoint its training gradients
    as the options have them, its query store, and what it counts."""

    estimator: Estimator
    views: list[Views]
    queries: list[GradientStore]
    shares: list[float]
    dampings: list[Damping]

    def made_by(self) -> dict[str, Any]:
        """For the diagnostics: versions, and the checksum of each store's index, in which those of
        its shards are; one for each checkpoint, and more where several stores are read as one."""
        drawn = [view.drawn for view in self.views if view.drawn is not None]
        stores = {"train": [view.store for view in self.views], "query": self.queries}
        stores |= {"curvature": drawn} if drawn else {}
        checksums = {
            name: [checksum for one in some for checksum in one.checksums]
            for name, some in stores.items()
        }
        return {"made_by": {"versions": versions(), "stores": checksums}}


def requested(
    train: Stores, query: Stores, method: str | Estimator | None, *,
    dampings: Sequence[AnyDamping | None], curvature: Stores | None = None,
    weights: Sequence[float] | None = None, rate_sum: float | None = None,
    normalize: Normalize | None = None, metric: Metric | None = None, blocks: Blocks | None = None,
    steps: int | None = None, device: AnyDevice = None,
) -> Request:  # fmt: skip
    """The arguments of `sweep`, settled. Raises what `attribute` does for those that do not fit."""
    estimator = _estimator(method, steps, curvature)
    options = Options.of(estimator, normalize, metric, blocks)
    checkpoints, shares = _paired(train, query, weights)
    trains, queries = [store for store, _ in checkpoints], [store for _, store in checkpoints]
    rows = _curvatures(curvature, trains)
    views = views_of(trains, options, rows, usable("cpu" if device is None else device))
    parsed = [damping_of(damping, estimator, views, shares, rate_sum) for damping in dampings]
    return Request(estimator, views, queries, shares, parsed)


def damping_of(
    damping: AnyDamping | None, estimator: Estimator, views: Sequence[Views],
    shares: Sequence[float] = (1.0,), rate_sum: float | None = None,
) -> Damping:  # fmt: skip
    """A damping as given, or the method's own; `flow` becomes the number of rows that it is."""
    read = read_damping(estimator.defaults.damping if damping is None else damping)
    if read is not None:
        return read
    if rate_sum is None:
        rate_sum = views[-1].store.index.notes.get(RATE_SUM)
    squares = [view.adam_mean_square for view in views]
    rows, rule = views[0].rows, OWN if views[0].drawn is None else DRAWN
    known = [square for square in squares if square is not None]
    mean = None
    if len(known) == len(squares):
        mean = sum(share * square for share, square in zip(shares, known, strict=True))
    return flow_damping(
        len(rows), mean, rate_sum, rule, len(views), examples=len(views[0].store.sound)
    )


def _paired(
    train: Stores, query: Stores, weights: Sequence[float] | None
) -> tuple[list[tuple[GradientStore, GradientStore]], list[float]]:
    """(training store, query store) of each checkpoint, and what it counts."""
    trains, queries = _opened(train), _opened(query)
    shares = [1 / max(1, len(trains))] * len(trains) if weights is None else list(weights)
    if not len(trains) == len(queries) == len(shares) > 0:
        given = None if weights is None else len(shares)
        raise _not_one_each(trains, queries, given)
    if not all(0 <= share < float("inf") for share in shares) or sum(shares) == 0:
        raise OptionError(f"the weights are {shares}", remedy="finite, not negative, some above 0")
    total = sum(shares)
    pairs = list(zip(trains, queries, strict=True))
    for pair in pairs:
        for store in pair:
            _require_not_drawn(store)
        pair[0].require_same_model(pair[1])
        for store, first in zip(pair, pairs[0], strict=True):
            store.require_same_examples(first)
            store.require_same_blocks(first)
    return pairs, [share / total for share in shares]


def _not_one_each(
    trains: Sequence[GradientStore], queries: Sequence[GradientStore], weights: int | None
) -> OptionError:
    """Of so many stores, and of weights that were given, with why several stores are several."""
    counts = [
        words.count(len(trains), "training store"),
        words.count(len(queries), "query store"),
    ]
    if weights is not None:
        counts.append(words.count(weights, "weight"))
    several, others = (trains, "query") if len(trains) > 1 else (queries, "training")
    why = ""
    if len(several) > 1:
        a, b = several[:2]
        what = "the same examples" if _of_same_weights(a, b) else "gradients of other weights"
        why = (
            f": {a.path} and {b.path} hold {what}, so that they count as checkpoints of one "
            f"training, each of which takes a {others} store of its own"
        )
    return OptionError(
        f"{words.listed(counts)}{why}",
        remedy="one of each for every checkpoint; stores of the same weights and of other examples "
        "each are read as one",
    )


def _opened(stores: Stores) -> list[GradientStore]:
    """One for each checkpoint, opened where its folder was given; those of the same weights and of
    unlike data are read as one."""
    each = [stores] if isinstance(stores, GradientStore | str | PathLike) else stores
    checkpoints: list[list[GradientStore]] = []
    for one in each:
        store = one if isinstance(one, GradientStore) else GradientStore.open(one)
        own = next((some for some in checkpoints if _has_a_part(some, store)), None)
        if own is None:
            checkpoints.append([store])
        else:
            own.append(store)
    return [joined(some) for some in checkpoints]


def _has_a_part(checkpoint: Sequence[GradientStore], store: GradientStore) -> bool:
    """Whether a store has other examples of the checkpoint's weights than those that it has."""
    data = store.index.fingerprints["data"]
    same = _of_same_weights(checkpoint[0], store)
    return same and all(one.index.fingerprints["data"] != data for one in checkpoint)


def _of_same_weights(a: GradientStore, b: GradientStore) -> bool:
    own, other = a.index.fingerprints, b.index.fingerprints
    return all(own[what] == other[what] for what in ("base", "adapter"))


def _require_not_drawn(store: GradientStore) -> None:
    if OF in store.index.task:
        raise OptionError(
            f"{store.path} holds gradients of drawn targets, not of the data's",
            remedy="it as curvature=…, and what datainf.collect made as the stores",
        )


def _estimator(
    method: str | Estimator | None, steps: int | None, curvature: Stores | None
) -> Estimator:
    if method is None:
        method = WITHOUT_CURVATURE if curvature is None else DEFAULT_METHOD
    estimator = from_name(method, steps=steps)
    if estimator.needs_curvature and curvature is None:
        raise OptionError(
            f"{estimator.name} needs gradients of drawn targets for its curvature",
            remedy="datainf collect RUN --data TRAIN --curvature-rows 1000, and its folder as "
            "--curvature (datainf.collect_curvature, curvature=…); or the "
            f"method {WITHOUT_CURVATURE}, which takes the training gradients for it",
        )
    if curvature is not None and not estimator.has_curvature:
        raise OptionError(
            f"{estimator.name} has no curvature, and one was given", remedy="leave it out"
        )
    return estimator


def _curvatures(
    given: Stores | None, trains: Sequence[GradientStore]
) -> list[GradientStore] | None:
    """One for each checkpoint, of the same weights and task."""
    if given is None:
        return None
    found = _opened(given)
    if len(found) != len(trains):
        raise OptionError(
            f"{words.count(len(trains), 'training store')} and {len(found)} of curvature",
            remedy="one for every checkpoint",
        )
    for rows, train in zip(found, trains, strict=True):
        train.require_same_model(rows)
        rows.require_same_examples(found[0])
        sources = [store.index.notes.get("source_digest") for store in (rows, train)]
        if None not in sources and sources[0] != sources[1]:
            raise StoreMismatchError(
                f"{rows.path} was drawn for other data than {train.path}",
                remedy="the curvature of the training data",
            )
        if rows.index.task.get(OF) != train.index.task:
            raise OptionError(
                f"{rows.path} does not hold gradients of drawn targets for the task of "
                f"{train.path}",
                remedy="datainf.collect_curvature with the same task",
            )
    return found


def self_influence(
    train: Store,
    method: str | Estimator | None = None,
    *,
    curvature: Store | None = None,
    rate_sum: float | None = None,
    damping: AnyDamping | None = None,
    normalize: Normalize | None = None,
    metric: Metric | None = None,
    blocks: Blocks | None = None,
    steps: int | None = None,
    device: AnyDevice = None,
    progress: Progress | None = None,
) -> Tensor:
    """Score(k, k) of every training example, [n], float32, without the n×n matrix of scores.

    Positive: training more on an example lowers its own loss, and the more the larger it is. The
    options are those of `attribute`, and so are the errors, for one store of training gradients, or
    its folder; `normalize` scales an example once as a training example and once as a query.
    """
    estimator = _estimator(method, steps, curvature)
    options = Options.of(estimator, normalize, metric, blocks)
    trains = _opened(train)
    _require_not_drawn(trains[0])
    rows = _curvatures(curvature, trains)
    (views,) = views_of(trains, options, rows, usable("cpu" if device is None else device))
    parsed = damping_of(damping, estimator, [views], rate_sum=rate_sum)
    return scoring.self_influence(views, estimator, parsed, views.device, progress or Silent())


def _settings(estimator: Estimator, damping: Damping, views: Views) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "damping": str(damping),
        "normalize": views.options.normalize,
        "metric": views.metric,
        "blocks": views.options.blocks,
    }
    if views.drawn is not None:
        settings["curvature_rows"] = len(views.drawn)
    own = {name: getattr(estimator, name, None) for name in ("steps", "tolerance")}
    # The tolerance 0, at which every step is taken, is as good as none.
    return settings | {name: value for name, value in own.items() if value}
