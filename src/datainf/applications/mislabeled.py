"""Which training examples look wrong, and what speaks for it.

Four signals, each of which is high where an example is suspect:

    influence        −mean_q score(q, k): training on k raises the loss of the queries, which are to
                     be right (a validation set)
    self-influence   score(k, k): the model had to bend far for k
    loss             k's own loss, after it was trained on, of several checkpoints the mean by what
                     each counts; infinite where k was skipped, since its loss or gradient is not
                     finite
    neighbours       −Σ_j cos_kj / Σ_j |cos_kj| over those whose gradients are most like k's or its
                     negative: they would undo what is learned of k

and one from several of them, `combined`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from scipy.stats import rankdata
from torch import Tensor

from datainf.applications.neighbours import Neighbours, directions, neighbours
from datainf.attribution import self_influence
from datainf.progress import Progress, Silent
from datainf.scores import AnyScores
from datainf.store import GradientStore

Signal = Literal["influence", "self-influence", "loss", "neighbours"]
SIGNALS: tuple[Signal, ...] = ("influence", "self-influence", "loss", "neighbours")
COMBINED: tuple[Signal, ...] = ("influence", "loss")
"""What the one rank is made of, by the evidence of benchmarks/cleaning.md."""
NEIGHBOURS = 100
"""More of them found more wrong labels there, up to this number."""


@dataclass(frozen=True)
class Suspects:
    """Of n training examples: every signal [n], float64, higher = more suspect; `combined` [n],
    made of some of them, in [0, 1); `order`, rows, the most suspect first; and each one's
    neighbours."""

    signals: Mapping[Signal, Tensor]
    combined: Tensor
    near: Neighbours

    @property
    def order(self) -> list[int]:
        """Rows of the training data, the most suspect first by `combined`; of equal ones the
        earlier first."""
        order: list[int] = torch.sort(self.combined, descending=True, stable=True).indices.tolist()
        return order


def mislabeled(
    scores: AnyScores,
    train: Sequence[GradientStore],
    weights: Sequence[float] | None = None,
    *,
    progress: Progress | None = None,
) -> Suspects:
    """Rank training examples by suspicion.

    Args:
        scores: Of queries that are right, such as a clean validation set.
        train: The training stores that they were made from, one for each checkpoint.
        weights: What each checkpoint counts; by default all the same.
    """
    advance = (progress or Silent()).stage("near neighbours", len(train[-1]))
    near = neighbours(directions(train[-1]), NEIGHBOURS, advance)
    signals: dict[Signal, Tensor] = {
        name: -near.agreement if name == "neighbours"
        else signal(name, scores, train, weights, progress=progress)
        for name in SIGNALS
    }  # fmt: skip
    return Suspects(signals, combined(signals), near)


def signal(
    name: Signal,
    scores: AnyScores,
    train: Sequence[GradientStore],
    weights: Sequence[float] | None = None,
    *,
    progress: Progress | None = None,
) -> Tensor:
    """One of the signals alone, [n], float64. Args are those of `mislabeled`."""
    if name == "influence":
        return -scores.means()
    if name == "self-influence":
        return _self_influence(train[-1], progress)
    if name == "loss":
        shares = torch.tensor(weights or [1.0] * len(train), dtype=torch.float64)
        losses = sum_of(shares / shares.sum(), [store.losses.double() for store in train])
        return skipped_last(losses, train)
    return -neighbours(directions(train[-1]), NEIGHBOURS).agreement


def skipped_last(signal: Tensor, train: Sequence[GradientStore]) -> Tensor:
    """A signal [n] in which nobody is more suspect than who was skipped at a checkpoint, since
    something of theirs was not finite."""
    signal = signal.clone()
    signal[sorted({row for store in train for row in store.skipped})] = torch.inf
    return signal


def _self_influence(store: GradientStore, progress: Progress | None) -> Tensor:
    """By the paper's method, in the metric that a projected store's gradients are in."""
    projection: Any = store.index.projection or {"metric": "none"}
    return self_influence(store, "datainf", metric=projection["metric"], progress=progress).double()


def combined(signals: Mapping[Signal, Tensor], of: Sequence[Signal] = COMBINED) -> Tensor:
    """1 − (Π_s p_s)^(1/|of|) over some signals s, [n], float64 in [0, 1), with p_s the share of
    examples that are as suspect by s or more. Its order is that of Fisher's way to put p-values
    together (Fisher 1925): whoever is among the first by one signal comes early, and by several
    first. Whoever is infinitely suspect by one is by all."""
    n = len(next(iter(signals.values())))
    ranks = (torch.from_numpy(rankdata(-signals[name].numpy(), "max")) for name in of)
    logs = torch.stack([(rank.double() / n).log() for rank in ranks])
    infinite = torch.stack([signals[name] for name in of]).isposinf().any(dim=0)
    logs[:, infinite] = -math.log(n)
    return 1 - logs.mean(dim=0).exp()


def sum_of(shares: Tensor, values: Sequence[Tensor]) -> Tensor:
    return sum((w * v for w, v in zip(shares, values, strict=True)), torch.zeros(()))
