"""What a method loses where stores are made smaller, seen on the examples that they keep in full.

A store of rounded or projected rows keeps some of its examples' full gradients beside it
(`GradientStore.sample`). Their scores are computed twice: from the full gradients, and from the
store's own rows of the same examples, by the same method and kind of metric: Adam's is the very
same; `fisher` is the mean squared gradient of these examples alone. λ is as large a share of the
gradients' mean squared norm as with the whole stores; by as many rows of so few it would be larger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from datainf.attribution import AnyDamping, AnyDevice, Request, Stores, requested, sweep
from datainf.errors import OptionError
from datainf.estimators import Estimator
from datainf.evaluation.metrics import rank_correlations, top_overlap
from datainf.linalg import Damping
from datainf.progress import Progress
from datainf.scores import Scores
from datainf.store import GradientStore
from datainf.store.shards import example_bytes

TOP = 10
"""The most helpful, and the most harmful, of which it is told how many are the same; half of the
examples where there are fewer than twice as many."""
LOW = 0.05
"""The quantile that stands for the worse queries."""
GOOD_CORRELATION, GOOD_OVERLAP = 0.95, 0.7
"""Below these the smaller rows are not to be trusted."""


@dataclass(frozen=True)
class CompressionCheck:
    """Scores from smaller rows against those from full gradients, by one method and damping.

    Of every query [m], float64: `correlations` are Spearman's, `helpful` and `harmful` the shares
    of the `top` most helpful and most harmful examples that are the same; NaN where the full
    gradients score all examples alike. `examples` were scored; `full_bytes` and `stored_bytes` are
    what a row takes on the disk without its id, of the first store that is made smaller.
    """

    method: str
    damping: str
    correlations: Tensor
    helpful: Tensor
    harmful: Tensor
    top: int
    examples: int
    full_bytes: int
    stored_bytes: int

    @property
    def ranked(self) -> int:
        """How many queries the figures are over: those that have an order to find."""
        return len(self.correlations) - self.unranked

    @property
    def unranked(self) -> int:
        """How many queries have no order to find: full gradients score all examples alike."""
        return int(self.correlations.isnan().sum())

    @property
    def correlation(self) -> float:
        """The mean over the queries, as are the `overlaps`; NaN, as all are, if none is ranked."""
        return float(self.correlations.nanmean())

    @property
    def low_correlation(self) -> float:
        """The 5 % quantile over the queries."""
        return float(self.correlations.nanquantile(LOW))

    @property
    def worst_correlation(self) -> float:
        """The least over the queries; NaN if none is ranked."""
        return float(self.correlations.nanquantile(0))

    @property
    def overlaps(self) -> tuple[float, float]:
        """Shares of the most helpful and of the most harmful."""
        return float(self.helpful.nanmean()), float(self.harmful.nanmean())

    @property
    def trusted(self) -> bool:
        """Whether the smaller rows stand for the full ones."""
        return self.correlation >= GOOD_CORRELATION and min(self.overlaps) >= GOOD_OVERLAP


def check_compression(
    train: Stores,
    query: Stores,
    method: str | Estimator | None = None,
    *,
    dampings: Sequence[AnyDamping | None] = (None,),
    device: AnyDevice = None,
    progress: Progress | None = None,
    **options: Any,
) -> list[CompressionCheck]:
    """What scores by each of the dampings lose, on the examples that the stores keep in full.

    Takes what `datainf.sweep` takes. The whole stores decide which metric, and the damping. Stores
    that are not made smaller are taken as they are, both times.

    Raises:
        OptionError: no store is made smaller; or one is and keeps no examples in full.
        And all that `datainf.attribute` raises.
    """
    asked = requested(train, query, method, dampings=dampings, device=device, **options)
    if not any(store.index.is_smaller for store in _stores(asked)):
        raise OptionError(
            f"{asked.views[0].store.path} and the other stores hold full gradients: there is "
            "nothing to check",
            remedy="stores that were collected with --store bfloat16 or int8, or with --project",
        )
    kept = {store: _in_full(store) for store in _stores(asked)}
    found = [
        _scores(asked, stores, device, progress)
        for stores in (kept, {store: _as_stored(store, full) for store, full in kept.items()})
    ]
    smaller = next(store for store in kept if store.index.is_smaller)
    sizes = example_bytes(kept[smaller].index), example_bytes(smaller.index)
    return [
        _compared(full, stored, str(damping), *sizes)
        for damping, full, stored in zip(asked.dampings, *found, strict=True)
    ]


def _stores(asked: Request) -> list[GradientStore]:
    drawn = [view.drawn for view in asked.views if view.drawn is not None]
    return [*(view.store for view in asked.views), *asked.queries, *drawn]


def _in_full(store: GradientStore) -> GradientStore:
    """The examples that a store keeps in full, or the store itself where all of them are."""
    if not store.index.is_smaller:
        return store
    if store.sample is None:
        raise OptionError(
            f"{store.path} keeps no examples in full to check it by",
            remedy="collect it again by the same command: what is there stays, and they are added",
        )
    return store.sample


def _as_stored(store: GradientStore, full: GradientStore) -> GradientStore:
    """The same examples as the store has them."""
    return store if full is store else store.pick(full.ids)


def _scores(
    asked: Request, of: Mapping[GradientStore, GradientStore], device: AnyDevice,
    progress: Progress | None,
) -> list[Scores]:  # fmt: skip
    """By each damping, with other stores in the place of the whole ones."""
    options, rows = asked.views[0].options, len(asked.views[0].rows)
    return sweep(
        [of[view.store] for view in asked.views],
        [of[store] for store in asked.queries],
        asked.estimator,
        curvature=[of[view.drawn] for view in asked.views if view.drawn is not None] or None,
        weights=asked.shares,
        dampings=[_of_a_part(damping, rows) for damping in asked.dampings],
        normalize=options.normalize,
        metric=options.metric,
        blocks=options.blocks,
        device=device,
        progress=progress,
    )


def _of_a_part(damping: Damping, rows: int) -> Damping:
    """The damping by which a part of so many rows has the λ that all of them have."""
    return Damping(damping.value / rows, "trace") if damping.kind == "rows" else damping


def _compared(
    full: Scores, stored: Scores, damping: str, full_bytes: int, stored_bytes: int
) -> CompressionCheck:
    truth, found, (_, examples) = full.values, stored.values, full.shape
    top = min(TOP, max(1, examples // 2))
    correlations = rank_correlations(truth, found)
    helpful, harmful = (
        top_overlap(truth, found, top, largest=largest).where(~correlations.isnan(), torch.nan)
        for largest in (True, False)
    )
    return CompressionCheck(
        full.method, damping, correlations, helpful, harmful, top, examples, full_bytes,
        stored_bytes,
    )  # fmt: skip
