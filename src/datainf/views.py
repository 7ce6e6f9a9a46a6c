"""Gradients as a method is given them: in a metric, scaled to norm 1 or not, in blocks.

A metric multiplies every parameter first; then each example's whole gradient may be divided by its
norm, or by the root of it; then tensors are set side by side as blocks. None of it copies the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor

from datainf.errors import OptionError
from datainf.estimators import Estimator
from datainf.linalg import ColumnScaled, GradientMatrix, RowScaled, from_dense, hstack, norm_scale
from datainf.linalg.spread import spread
from datainf.second_moments import metric_scale
from datainf.store import Block, GradientStore

CPU = torch.device("cpu")

Normalize = Literal["none", "unit", "root", "queries"]
Blocks = Literal["tensor", "module", "model"]
Metric = Literal["none", "adam", "fisher", "auto"]

NORM_POWERS: dict[Normalize, tuple[float, float]] = {
    "none": (0, 0), "unit": (1, 1), "root": (0.5, 1), "queries": (0, 1),
}  # fmt: skip
"""By what power of its norm each training example's gradient is divided, and each query's."""

Parts = Mapping[str, GradientMatrix]
"""A store's tensors by name, [n, d_l] each."""


@dataclass(frozen=True)
class Options:
    """A caller's choices, and the method's own where there are none.

    Raises `OptionError` for one that there is not.
    """

    normalize: Normalize
    metric: Metric
    blocks: Blocks

    @property
    def norm_powers(self) -> tuple[float, float]:
        """Of training examples and of the curvature's rows, and of queries."""
        return NORM_POWERS[self.normalize]

    def __post_init__(self) -> None:
        for name, allowed in (("normalize", Normalize), ("metric", Metric), ("blocks", Blocks)):
            value = getattr(self, name)
            if value not in get_args(allowed):
                raise OptionError(
                    f"unknown {name} {value!r}", remedy=" or ".join(get_args(allowed))
                )

    @classmethod
    def of(
        cls, estimator: Estimator, normalize: Normalize | None, metric: Metric | None,
        blocks: Blocks | None,
    ) -> Self:  # fmt: skip
        own: Any = estimator.defaults
        return cls(normalize or own.normalize, metric or own.metric, blocks or own.blocks)


def grouped(tensors: Sequence[Block], by: Blocks) -> dict[str, list[Block]]:
    """A store's tensors by the block that each belongs to."""
    groups: dict[str, list[Block]] = {}
    for tensor in tensors:
        names = {"tensor": tensor.name, "module": tensor.module, "model": "model"}
        groups.setdefault(names[by], []).append(tensor)
    return groups


class Views:
    """The gradients of a training store, and of any other of the same weights, as the options have
    them, on a device; what the training store alone decides is computed once. `views_of` makes
    them."""

    def __init__(
        self, train: GradientStore, options: Options, drawn: GradientStore | None,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.store, self.options, self.drawn, self.device = train, options, drawn, device
        self.metric = options.metric

    @cached_property
    def train(self) -> dict[str, GradientMatrix]:
        """The training gradients by block, [n, d]."""
        return self._matrices(self._train_parts, self.options.norm_powers[0])

    @property
    def rows(self) -> GradientStore:
        """Whose rows stand for the curvature: none that was skipped."""
        return (self.store if self.drawn is None else self.drawn).sound

    @cached_property
    def curvature(self) -> dict[str, GradientMatrix]:
        """These rows by block, [N, d], scaled as training gradients are."""
        if self.rows is self.store:
            return self.train
        return self._matrices(self._row_parts, self.options.norm_powers[0])

    def of(self, query: GradientStore) -> dict[str, GradientMatrix]:
        """Queries' gradients by block, [m, d]."""
        return self._matrices(self._parts(query, self._scales), self.options.norm_powers[1])

    def of_rows(self, gradients: Mapping[str, Tensor]) -> dict[str, GradientMatrix]:
        """As `of`, for queries' gradients in memory, tensor's name → [m, columns] as a store of
        theirs would hold them."""
        parts: dict[str, GradientMatrix] = {}
        for name, rows in gradients.items():
            G: GradientMatrix = from_dense(rows.to(self.device))
            parts[name] = G if self._scales is None else ColumnScaled(G, self._scales[name])
        return self._matrices(parts, self.options.norm_powers[1])

    @property
    def row_scale(self) -> Tensor:
        """What each training example's gradients are multiplied by, [n], float64: the power of its
        norm that the options say."""
        power = self.options.norm_powers[0]
        if power == 0:
            return torch.ones(len(self.store), dtype=torch.float64)
        return norm_scale(_sq_norms(self._train_parts), power).cpu()

    def directions(self, solved: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Solved vectors by block, [m, d] each, as vectors that the rows of the training store are
        multiplied by as they lie there: tensor's name → [m, d_l]. The score of example k is the sum
        over tensors of these products, times `row_scale` of k. Blocks that are not in `solved` have
        no part in the scores, and neither have their tensors here."""
        found, scales = dict[str, Tensor](), self._scales
        for group, tensors in grouped(self.store.index.blocks, self.options.blocks).items():
            if group not in solved:
                continue
            pieces = torch.split(solved[group], [tensor.columns for tensor in tensors], dim=1)
            for tensor, piece in zip(tensors, pieces, strict=True):
                found[tensor.name] = (
                    piece if scales is None else piece * scales[tensor.name].to(piece)
                )
        return found

    @property
    def as_query(self) -> Tensor:
        """What scales a row of `train` to the same example as a query, [n], on the CPU."""
        train, query = self.options.norm_powers
        if train == query:
            return torch.ones(len(self.store))
        return norm_scale(_sq_norms(self._train_parts), query - train).cpu()

    @cached_property
    def adam_mean_square(self) -> float | None:
        """mean_i ‖g_i‖² of the curvature's rows in Adam's metric; None where the training store has
        no second moments."""
        if not _has_moments(self.store):
            return None
        if self.metric == "adam":
            parts = self._row_parts
        elif _baked(self.store) is not None:
            return None
        else:
            parts = self._parts(self.rows, _scales(self.store, "adam", self.device))
        return float(_sq_norms(parts).mean())

    @cached_property
    def _scales(self) -> Mapping[str, Tensor] | None:
        return _scales(self.store, self.metric, self.device)

    @cached_property
    def _train_parts(self) -> Parts:
        return self._parts(self.store, self._scales)

    @cached_property
    def _row_parts(self) -> Parts:
        if self.rows is self.store:
            return self._train_parts
        return self._parts(self.rows, self._scales)

    def _parts(self, store: GradientStore, scales: Mapping[str, Tensor] | None) -> Parts:
        parts = {name: G.to(device=self.device) for name, G in store.blocks.items()}
        if scales is None:
            return parts
        return {name: ColumnScaled(G, scales[name]) for name, G in parts.items()}

    def _matrices(self, parts: Parts, power: float) -> dict[str, GradientMatrix]:
        groups = grouped(self.store.index.blocks, self.options.blocks)
        matrices = {
            group: hstack([parts[tensor.name] for tensor in tensors])
            for group, tensors in groups.items()
        }
        if power == 0:
            return matrices
        scale = norm_scale(_sq_norms(parts), power)
        return {group: RowScaled(matrix, scale) for group, matrix in matrices.items()}


def _sq_norms(parts: Parts) -> Tensor:
    """‖g_i‖² over all parameters, [n], float64."""
    return torch.stack([spread(part).sq_norms.double() for part in parts.values()]).sum(dim=0)


def views_of(
    trains: Sequence[GradientStore], options: Options,
    curvatures: Sequence[GradientStore] | None = None, device: torch.device = CPU,
) -> list[Views]:  # fmt: skip
    """The views of a training's checkpoints. The metric `auto` is one for all of them: that in
    which they were projected; else Adam's where every store has its second moments, else Fisher's.

    Raises `OptionError` for stores that were projected in another metric."""
    if options.metric == "auto":
        metric: Metric = "adam" if all(map(_has_moments, trains)) else "fisher"
        options = replace(options, metric=_baked(trains[0]) or metric)
    for train in trains:
        _require_metric(train, options.metric)
    rows = curvatures if curvatures is not None else [None] * len(trains)
    return [Views(train, options, own, device) for train, own in zip(trains, rows, strict=True)]


def _baked(train: GradientStore) -> Metric | None:
    """The metric in which a store's gradients were projected; None if they were not."""
    return None if train.index.projection is None else train.index.projection["metric"]


def _require_metric(train: GradientStore, metric: Metric) -> None:
    baked = _baked(train)
    if baked is None or baked == metric:
        return
    raise OptionError(
        f"{train.path} holds gradients that were projected in the metric {baked}; another cannot "
        "be had from them",
        remedy=f"--metric {baked}; or collect again",
    )


def _has_moments(train: GradientStore) -> bool:
    return set(train.second_moments or ()) == set(train.blocks)


def _scales(train: GradientStore, metric: Metric, device: torch.device) -> dict[str, Tensor] | None:
    """What a metric multiplies parameters by, tensor's name → [d_l]; None for `none`, and where it
    was done before the gradients were projected."""
    if metric == "none" or _baked(train) is not None:
        return None
    if metric == "fisher":
        moments = {
            name: spread(G.to(device=device)).mean_square()
            for name, G in train.sound.blocks.items()
        }
    else:
        moments = train.second_moments or {}
        if not _has_moments(train):
            raise OptionError(
                f"{train.path} has no second moments of Adam for {len(train.blocks)} tensors",
                remedy="collect from a checkpoint that holds optimizer.pt; or --metric fisher, the "
                "mean squared gradient in their place",
            )
    return {name: metric_scale(v) for name, v in moments.items()}
