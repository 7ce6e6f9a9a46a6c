"""Do scores foretell what retraining does? The linear datamodeling score, and what bounds it.

Models are trained again on random parts of the training data. A query's LDS (Park, Georgiev, Ilyas,
Leclerc, Madry, "TRAK", ICML 2023, definition 2.3) is the Spearman correlation, over the parts, of
the sum of its scores over a part's examples with its outcome under the model trained on that part.
The outcome here is minus the query's loss, averaged over seeds, so that helpful scores are
positive.

Training is noisy: two seeds on the same part do not give the same loss, and no score can foretell
their difference. With r the correlation of one seed's losses with another's, the mean of k seeds
has the reliability k r / (1 + (k - 1) r) (Spearman, Brown), and even the losses that training has
on average correlate with it by no more than the root of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import rankdata
from torch import Tensor

from datainf.errors import OptionError

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over queries with its bootstrap interval at the level 0.95, over parts and queries
    both: either could have been others."""

    mean: float
    low: float
    high: float
    by_query: np.ndarray  # [m]

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Ceiling:
    """`seed_to_seed`: the rank correlation of one seed's losses with another's, over the parts;
    `bound`: what that leaves, at most, for the correlation with the mean over `seeds` of them."""

    seed_to_seed: float
    bound: float
    seeds: int


def lds(
    scores: Tensor, parts: Tensor, losses: Tensor, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The linear datamodeling score of `scores`, mean over queries.

    Args:
        scores: [m, n], positive = helpful.
        parts: bool [S, n], the training examples of each part.
        losses: [S, m] or [S, seeds, m], the queries' losses under the models trained on the parts.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        OptionError: shapes that do not fit, fewer than three parts, or a loss that is not finite.
    """
    outcome = -_mean_losses(scores, parts, losses)
    foretold = (scores.double() @ parts.double().T).numpy()
    return _interval(foretold, outcome, resamples, seed)


def ceiling(losses: Tensor) -> Ceiling:
    """How far losses [S, seeds, m] can be foretold at all.

    Raises `OptionError` for fewer than two seeds or three parts.
    """
    values = losses.double().numpy()
    if values.ndim != 3 or values.shape[1] < 2 or values.shape[0] < 3:
        raise OptionError(
            "a ceiling needs losses [parts, seeds, queries] of two seeds and three parts at least; "
            f"got shape {values.shape}"
        )
    seeds = values.shape[1]
    pairs = [
        _spearman(values[:, a].T, values[:, b].T).mean() for a, b in combinations(range(seeds), 2)
    ]
    r = float(np.mean(pairs))
    reliability = seeds * r / (1 + (seeds - 1) * r) if r > 0 else 0.0
    return Ceiling(r, float(np.sqrt(reliability)), seeds)


def _mean_losses(scores: Tensor, parts: Tensor, losses: Tensor) -> np.ndarray:
    """[m, S], over seeds."""
    mean = losses.double().mean(dim=1) if losses.ndim == 3 else losses.double()
    m, n = scores.shape
    if parts.ndim != 2 or parts.shape[1] != n or tuple(mean.shape) != (len(parts), m):
        raise OptionError(
            f"scores {tuple(scores.shape)}, parts {tuple(parts.shape)} and losses "
            f"{tuple(losses.shape)} do not fit: [m, n], [S, n] and [S, m] or [S, seeds, m]"
        )
    if len(parts) < 3:
        raise OptionError(f"{len(parts)} parts give no rank correlation", remedy="fifty or more")
    if not bool(mean.isfinite().all()):
        raise OptionError("some losses are not finite")
    return mean.T.numpy()


def _interval(foretold: np.ndarray, outcome: np.ndarray, resamples: int, seed: int) -> Interval:
    by_query = _spearman(foretold, outcome)
    draw = np.random.default_rng(seed)
    m, parts = foretold.shape
    means = np.empty(resamples)
    for i in range(resamples):
        chosen = draw.integers(parts, size=parts)
        queries = draw.integers(m, size=m)
        pair = (values[queries][:, chosen] for values in (foretold, outcome))
        means[i] = _spearman(*pair).mean()
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(by_query.mean()), float(low), float(high), by_query)


def _spearman(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Rank correlations of the rows of [m, S] and [m, S], [m]; 0 where a row is constant."""
    a, b = (rankdata(values, axis=1) for values in (left, right))
    a, b = (values - values.mean(axis=1, keepdims=True) for values in (a, b))
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    found: np.ndarray = np.zeros_like(size)
    np.divide((a * b).sum(axis=1), size, out=found, where=size > 0)
    return found
