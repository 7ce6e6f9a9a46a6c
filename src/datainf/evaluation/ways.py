"""Ways to score, held against models that were trained again.

A way is a method with its options, and the dampings that it might have had. What a person would
get is judged with the way's own damping; beside it stands the best of the others, chosen on
held-out queries and judged on the rest, as everything is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from datainf.attribute import sweep
from datainf.errors import OptionError
from datainf.evaluation.lds import RESAMPLES, Interval, lds
from datainf.store import GradientStore

Checkpoints = Sequence[GradientStore]


@dataclass(frozen=True)
class Way:
    """A method, its options as `attribute` takes them, and other dampings to try."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    dampings: tuple[str, ...] = ()

    def scores(
        self, train: Checkpoints, query: Checkpoints, weights: Sequence[float] | None
    ) -> dict[str | None, Tensor]:
        """Damping → scores [m, n]; None is the way's own."""
        options = dict(self.options)
        own = options.pop("damping", None)
        found = sweep(
            train, query, self.method, weights=weights, dampings=[own, *self.dampings], **options
        )
        return dict(zip((None, *self.dampings), (scores.values for scores in found), strict=True))


BY_DIMENSION = ("0.001", "0.01", "1", "10", "100", "1000")
BY_ROWS = tuple(f"rows:{count}" for count in (1, 3, 10, 20, 40, 80, 160, 640))

WAYS: dict[str, Way] = {
    "ridge": Way("ridge", dampings=BY_ROWS),
    "datainf": Way("datainf", dampings=BY_DIMENSION),
    "datainf, unit": Way("datainf", {"normalize": "unit"}, BY_DIMENSION),
    "exact": Way("exact", dampings=BY_DIMENSION),
    "exact, model": Way("exact", {"blocks": "model", "damping": "rows:20"}, BY_ROWS),
    "gradient": Way("gradient"),
    "cosine": Way("gradient", {"normalize": "unit"}),
}
"""Those that `datainf evaluate` compares."""


@dataclass(frozen=True)
class Judged:
    """A way's LDS on the reported queries.

    `own` is by its own damping; `best` by the one of its dampings that held-out queries chose,
    None where there was nothing to choose. `seconds` is what scoring by all of them took.
    """

    own: Interval
    damping: str | None = None
    best: Interval | None = None
    seconds: float = 0.0


def held_out(m: int) -> Tensor:
    """bool [m]: every second query, on which choices are made; none of a single one."""
    mask = torch.zeros(m, dtype=torch.bool)
    mask[1::2] = True
    return mask


def judge(
    found: Mapping[str | None, Tensor], parts: Tensor, losses: Tensor, chosen_on: Tensor
) -> Judged:
    """Scores by damping, None the way's own, against retraining.

    Args:
        found: damping → scores [m, n].
        parts, losses: bool [S, n] and [S, seeds, m], as `lds` takes them.
        chosen_on: bool [m], the held-out queries; judged are the others.

    Raises:
        OptionError: every query is held out, or shapes that do not fit.
    """
    if bool(chosen_on.all()):
        raise OptionError("every query is held out, and none is left to report")

    def on(queries: Tensor, scores: Tensor, resamples: int) -> Interval:
        return lds(scores[queries], parts, losses[..., queries], resamples=resamples)

    own = on(~chosen_on, found[None], RESAMPLES)
    others = {damping: scores for damping, scores in found.items() if damping is not None}
    if not others or not bool(chosen_on.any()):
        return Judged(own)
    best = max(others, key=lambda damping: on(chosen_on, others[damping], 1).mean)
    return Judged(own, best, on(~chosen_on, others[best], RESAMPLES))


def judge_ways(
    ways: Mapping[str, Way],
    train: Checkpoints,
    query: Checkpoints,
    weights: Sequence[float] | None,
    parts: Tensor,
    losses: Tensor,
    chosen_on: Tensor,
) -> tuple[dict[str, Judged], dict[str, Tensor]]:
    """What each way foretells, and its scores [m, n] by its own damping."""
    judged, scores = {}, {}
    for name, way in ways.items():
        started = time.perf_counter()
        found = way.scores(train, query, weights)
        seconds = time.perf_counter() - started
        made = judge(found, parts, losses, chosen_on)
        judged[name] = Judged(made.own, made.damping, made.best, seconds)
        scores[name] = found[None]
    return judged, scores
