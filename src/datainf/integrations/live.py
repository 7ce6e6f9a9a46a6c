"""A model in memory and its training data, which answer query after query."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from datainf import scoring, words
from datainf.attribution import attribute, requested
from datainf.errors import OptionError
from datainf.estimators import Estimator
from datainf.gradients import collect, collect_curvature
from datainf.integrations.choices import Choices, Options
from datainf.integrations.classes import Classes
from datainf.integrations.others import Others
from datainf.integrations.rows import by_number, rows_of
from datainf.progress import Progress, Silent
from datainf.remote import place
from datainf.store import GradientStore
from datainf.tasks import Task

Moments = Mapping[str, Tensor]
"""Adam's v̂ by parameter name, each in its parameter's shape."""


class Attributor:
    """Collects the training gradients once, and scores queries against them.

    For `gauss-newton` gradients of answers that the model draws are collected beside them, as
    `datainf.collect_curvature` does it; they stand for its curvature.

    Args:
        model: In memory; every parameter that requires gradients is attributed.
        train: Its training data, with a length and integer indices; of a data loader its data set.
        task: What the model loses on an example; by default the cross-entropy of pairs (input,
            class index).
        out: Folder for the stores of the training data, which another process then uses again; a
            temporary one by default.
        method: As `datainf.attribute` takes it; by default `gauss-newton` where an example has many
            targets that can be drawn, such as a text's tokens, else `ridge`.
        options: Of `datainf.attribute`: damping, normalize, metric, blocks, steps, rate_sum and
            device.
        checkpoints: Each gives the model its weights from a time of the training, and returns what
            that time counts, a learning rate, say; what is no number counts as 1. Scores are their
            mean over the checkpoints, weighted so: of weights 1e-3 and 5e-4 it is (2 s₁ + s₂)/3,
            where Captum's `TracInCP` has the sum 1e-3 s₁ + 5e-4 s₂, the same order on another
            scale. The model is left with the last one's weights. By default its weights are those
            that it has.
        second_moments: Adam's v̂ by parameter name, of the training that led to the weights, as
            `datainf.collect` takes them: for the metrics `adam` and `auto`, and for the damping
            `flow`, which asks for `rate_sum` then. Of several checkpoints a list, of each its own.

    Raises, before any gradient is taken, `InputError` for options that there are not and for data
    that have no length, `OptionError` for an unknown method or a value that an option does not
    take, for `gauss-newton` with a task whose answers cannot be drawn, for the metric `adam`
    without second moments, for a `rate_sum` that changes nothing, without them or with another
    damping than `flow`, and for second moments of another number of checkpoints; `OptionError` for
    weights of checkpoints that are negative, not finite or all 0; and what `datainf.collect` and
    `datainf.collect_curvature` raise.
    """

    def __init__(
        self, model: nn.Module, train: Any, task: Task | None, out: str | Path | None,
        method: str | Estimator | None, options: Options,
        checkpoints: Sequence[Callable[[], Any]] = (),
        second_moments: Moments | Sequence[Moments] | None = None,
    ) -> None:  # fmt: skip
        train = by_number(train)
        self.model, self.task = model, task or Classes()
        self.choices = Choices.of(
            method, options, self.task, model, moments=second_moments is not None
        )
        self._loads = list(checkpoints) or [lambda: 1.0]
        moments = _of_each(second_moments, len(self._loads))
        if out is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="datainf-")  # gone with this
            out = self._temporary.name
        self.train: list[GradientStore] = []
        self.drawn: list[GradientStore] = []
        self.weights: list[float] = []
        for (folder, weight), own in zip(self._checkpoints(place(out)), moments, strict=True):
            self.weights.append(weight)
            self.train.append(
                collect(model, train, self.task, out=folder / "train", second_moments=own)
            )
            if self.choices.needs_curvature:
                rows = collect_curvature(model, train, self.task, out=folder / "curvature")
                self.drawn.append(rows)
        if sum(self.weights) == 0:
            raise _not_weights(self.weights)
        self.like = train[0]
        """A training example, by which batches are read."""

    def scores(self, batch: Any, progress: Progress | None = None) -> Tensor:
        """[m, n] of these examples, float32 on the CPU, positive = helpful; the weighted mean over
        the checkpoints.

        Args:
            batch: A tuple of tensors, a mapping of columns, a pair of either and targets, a data
                loader of such, or a list of examples; a list that holds a tensor is a batch too
                where a training example is no tensor, as one that is taken from a data loader.
            progress: Where to show how far it is.

        Raises `InputError` for anything else, for parts of unlike lengths, for lists of tensors
        that may be read by example and by position alike, see `datainf.integrations.rows`, and what
        `datainf.collect` raises.
        """
        with tempfile.TemporaryDirectory(prefix="datainf-") as made:
            asked = self._collected(batch, Path(made), progress)
            found = attribute(
                self.train, asked, self.choices.estimator, curvature=self.drawn or None,
                weights=self.weights, progress=progress, **self.choices.options,
            )  # fmt: skip
        return found.values

    def self_influence(self, batch: Any = None, progress: Progress | None = None) -> Tensor:
        """Score(k, k) of every training example, [n], float32 on the CPU, positive; the weighted
        mean over the checkpoints, as of scores.

        To find wrong labels by it, choose `options={"normalize": "none"}`. By default `ridge`
        scales every gradient to norm 1, and what self-influence tells of labels is the norm: scaled
        it ranks flipped labels before right ones with an AUC of about .4 to .6, where .5 is chance,
        and unscaled, where labels can be learnt at all, with one of .6 to .9
        (experiments/RESULTS.md, benchmarks/sst2.md).

        Args:
            batch: Other examples, as `scores` takes them: [m], of each what it would score for
                itself as a training example, in the metric and the curvature of the training data,
                which it is not added to.
            progress: Where to show how far it is.

        Raises what `scores` does.
        """
        if batch is None:
            return self._for_themselves(None, progress)
        with tempfile.TemporaryDirectory(prefix="datainf-") as made:
            asked = self._collected(batch, Path(made), progress)
            return self._for_themselves(asked, progress)

    def _for_themselves(
        self, others: list[GradientStore] | None, progress: Progress | None
    ) -> Tensor:
        """Of these stores' examples, by default the training's, by the damping that scores have."""
        options = dict(self.choices.options)
        asked = requested(
            self.train, others or self.train, self.choices.estimator,
            dampings=[options.pop("damping", None)], curvature=self.drawn or None,
            weights=self.weights, **options,
        )  # fmt: skip
        views = asked.views
        if others is not None:
            views = [Others(store, view) for store, view in zip(others, views, strict=True)]
        (damping,), shown = asked.dampings, progress or Silent()
        each = [
            scoring.self_influence(view, asked.estimator, damping, view.device, shown)
            for view in views
        ]
        return torch.einsum("c,cn->n", torch.tensor(asked.shares), torch.stack(each))

    def _collected(self, batch: Any, made: Path, progress: Progress | None) -> list[GradientStore]:
        """Stores of a batch's examples in a folder, one at each checkpoint."""
        rows = rows_of(batch, self.like)
        return [
            collect(self.model, rows, self.task, out=folder / "query", progress=progress)
            for folder, _ in self._checkpoints(made)
        ]

    def _checkpoints(self, folder: Path) -> Iterator[tuple[Path, float]]:
        """Each of them loaded into the model in turn: its own folder, and what it counts."""
        for at, load in enumerate(self._loads):
            weight = _weight(load())
            yield folder / f"checkpoint-{at}" if len(self._loads) > 1 else folder, weight


def _of_each(
    given: Moments | Sequence[Moments] | None, checkpoints: int
) -> Sequence[Moments | None]:
    """Each checkpoint's second moments. Raises `OptionError` for those of another number."""
    if given is None:
        return [None] * checkpoints
    each = [given] if isinstance(given, Mapping) else list(given)
    if len(each) != checkpoints:
        raise OptionError(
            f"second moments of {words.count(len(each), 'checkpoint')}, and there "
            f"{'is' if checkpoints == 1 else 'are'} {checkpoints}",
            remedy="a list with those of each, in the order of the checkpoints",
        )
    return each


def _weight(returned: Any) -> float:
    """What a checkpoint counts by what its loader returned: 1 for what is no number, such as the
    names that `load_state_dict` returns. Raises `OptionError` as scores would."""
    if isinstance(returned, Tensor) and returned.numel() == 1:
        returned = returned.item()
    if isinstance(returned, bool) or not isinstance(returned, Real):
        return 1.0
    weight = float(returned)
    if weight < 0 or not isfinite(weight):
        raise _not_weights([weight])
    return weight


def _not_weights(weights: list[float]) -> OptionError:
    return OptionError(
        f"the checkpoints' weights are {weights}", remedy="finite, not negative, some above 0"
    )
