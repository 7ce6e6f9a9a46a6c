"""A model in memory and its training data, which answer query after query."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from datainf.attribution import attribute, self_influence
from datainf.errors import OptionError
from datainf.estimators import Estimator
from datainf.gradients import collect, collect_curvature
from datainf.integrations.choices import Choices, Options
from datainf.integrations.classes import Classes
from datainf.integrations.rows import by_number, rows_of
from datainf.remote import place
from datainf.store import GradientStore
from datainf.tasks import Task


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
            that time counts, a learning rate, say; what is no number counts as 1. Scores are summed
            over them, and the model is left with the last one's weights. By default its weights are
            those that it has.

    Raises, before any gradient is taken, `InputError` for options that there are not and for data
    that have no length, `OptionError` for an unknown method or a value that an option does not
    take, and for `gauss-newton` with a task whose answers cannot be drawn; `OptionError` for
    weights of checkpoints that are negative, not finite or all 0; and what `datainf.collect` and
    `datainf.collect_curvature` raise.
    """

    def __init__(
        self, model: nn.Module, train: Any, task: Task | None, out: str | Path | None,
        method: str | Estimator | None, options: Options,
        checkpoints: Sequence[Callable[[], Any]] = (),
    ) -> None:  # fmt: skip
        train = by_number(train)
        self.model, self.task = model, task or Classes()
        self.choices = Choices.of(method, options, self.task, model)
        self._loads = list(checkpoints) or [lambda: 1.0]
        if out is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="datainf-")  # gone with this
            out = self._temporary.name
        self.train: list[GradientStore] = []
        self.drawn: list[GradientStore] = []
        self.weights: list[float] = []
        for folder, weight in self._checkpoints(place(out)):
            self.weights.append(weight)
            self.train.append(collect(model, train, self.task, out=folder / "train"))
            if self.choices.needs_curvature:
                rows = collect_curvature(model, train, self.task, out=folder / "curvature")
                self.drawn.append(rows)
        if sum(self.weights) == 0:
            raise _not_weights(self.weights)
        self._of_tensors = len(train) > 0 and isinstance(train[0], Tensor)

    def scores(self, batch: Any) -> Tensor:
        """[m, n] of these examples, float32 on the CPU, positive = helpful.

        Args:
            batch: A tuple of tensors, a mapping of columns, a pair of either and targets, a data
                loader of such, or a list of examples; a list of tensors is a batch too where a
                training example is no tensor, as one that is taken from a data loader.

        Raises `InputError` for anything else, for parts of unlike lengths, and what
        `datainf.collect` raises.
        """
        is_batch = isinstance(batch, list) and all(isinstance(part, Tensor) for part in batch)
        queries = rows_of(tuple(batch) if is_batch and not self._of_tensors else batch)
        with tempfile.TemporaryDirectory(prefix="datainf-") as made:
            asked = [
                collect(self.model, queries, self.task, out=folder / "query")
                for folder, _ in self._checkpoints(Path(made))
            ]
            found = attribute(
                self.train, asked, self.choices.estimator, curvature=self.drawn or None,
                weights=self.weights, **self.choices.options,
            )  # fmt: skip
        return found.values

    def self_influence(self) -> Tensor:
        """Score(k, k) of every training example, [n], float32 on the CPU, summed over the
        checkpoints as scores are."""
        shares = torch.tensor(self.weights) / sum(self.weights)
        curvatures: Sequence[GradientStore | None] = self.drawn or [None] * len(self.train)
        each = [
            self_influence(
                store, self.choices.estimator, curvature=drawn, **self.choices.options
            )
            for store, drawn in zip(self.train, curvatures, strict=True)
        ]  # fmt: skip
        return torch.einsum("c,cn->n", shares, torch.stack(each))

    def _checkpoints(self, folder: Path) -> Iterator[tuple[Path, float]]:
        """Each of them loaded into the model in turn: its own folder, and what it counts."""
        for at, load in enumerate(self._loads):
            weight = _weight(load())
            yield folder / f"checkpoint-{at}" if len(self._loads) > 1 else folder, weight


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
