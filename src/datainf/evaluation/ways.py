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

import numpy as np
import torch
from torch import Tensor

from datainf.attribution import sweep
from datainf.errors import OptionError
from datainf.estimators import from_name
from datainf.evaluation.lds import RESAMPLES, Interval, lds
from datainf.store import GradientStore

Checkpoints = Sequence[GradientStore]


@dataclass(frozen=True)
class Way:
    """A method, its options as `attribute` takes them, and other dampings to try."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    dampings: tuple[str, ...] = ()

    @property
    def takes_curvature(self) -> bool:
        """Whether drawn targets stand for the curvature: where the method, or `drawn`, says so."""
        return bool(self.options.get("drawn", from_name(self.method).needs_curvature))

    def scores(
        self, train: Checkpoints, query: Checkpoints, weights: Sequence[float] | None,
        rate_sum: float | None, curvature: Checkpoints | None = None,
    ) -> Scored:  # fmt: skip
        """The scores by its own damping and the others; `weights` and `rate_sum` as for
        `attribute`. Raises `OptionError` where it takes a curvature and there is none."""
        options = {name: value for name, value in self.options.items() if name != "drawn"}
        own = options.pop("damping", None)
        if self.takes_curvature and curvature is None:
            raise OptionError(f"{self.method} was to take drawn targets, and there are none")
        started = time.perf_counter()
        found = sweep(
            train, query, self.method, curvature=curvature if self.takes_curvature else None,
            weights=weights, rate_sum=rate_sum, dampings=[own, *self.dampings], **options,
        )  # fmt: skip
        values = [scores.values for scores in found]
        others = dict(zip(self.dampings, values[1:], strict=True))
        return Scored(values[0], others, time.perf_counter() - started)


@dataclass(frozen=True)
class Scored:
    """Scores [m, n] by a way's own damping, and by others; the seconds that all of them took."""

    own: Tensor
    others: Mapping[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0


BY_DIMENSION = ("0.001", "0.01", "1", "10", "100", "1000")
BY_ROWS = tuple(f"rows:{count}" for count in (1, 3, 10, 20, 40, 80, 160, 640))

BY_DRAWN_ROWS = tuple(f"rows:{count}" for count in (0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300))

WAYS: dict[str, Way] = {
    "gauss-newton": Way("gauss-newton", dampings=BY_DRAWN_ROWS),
    "ridge": Way("ridge", dampings=BY_ROWS),
    "datainf": Way("datainf", dampings=BY_DIMENSION),
    "datainf, unit": Way("datainf", {"normalize": "unit"}, BY_DIMENSION),
    "exact": Way("exact", dampings=BY_DIMENSION),
    "exact, model": Way("exact", {"blocks": "model", "damping": "rows:20"}, BY_ROWS),
    "gradient": Way("gradient"),
    "cosine": Way("gradient", {"normalize": "unit"}),
}
"""Those that `datainf evaluate` compares."""


OWN = "own"


@dataclass(frozen=True)
class Judged:
    """A way's LDS on the reported queries.

    `own` is by its own damping; `best` by the one that held-out queries chose of all of them,
    `damping`, "own" among them; None where there was nothing to choose. `seconds` is what scoring
    by all of them took.
    """

    own: Interval
    damping: str | None = None
    best: Interval | None = None
    seconds: float = 0.0


def held_out(m: int, *, seed: int = 0) -> Tensor:
    """bool [m]: a random half of the queries, on which choices are made; none of a single one."""
    mask = torch.zeros(m, dtype=torch.bool)
    mask[torch.from_numpy(np.random.default_rng(seed).permutation(m)[: m // 2].copy())] = True
    return mask


def judge(found: Scored, parts: Tensor, losses: Tensor, chosen_on: Tensor) -> Judged:
    """Scores against retraining.

    Args:
        found: Scores [m, n] by one or several dampings.
        parts, losses: bool [S, n] and [S, seeds, m], as `lds` takes them.
        chosen_on: bool [m], the held-out queries; judged are the others.

    Raises:
        OptionError: every query is held out, or shapes that do not fit.
    """
    if bool(chosen_on.all()):
        raise OptionError("every query is held out, and none is left to report")

    def on(queries: Tensor, scores: Tensor, resamples: int = RESAMPLES) -> Interval:
        return lds(scores[queries], parts, losses[..., queries], resamples=resamples)

    own = on(~chosen_on, found.own)
    if not found.others or not bool(chosen_on.any()):
        return Judged(own, seconds=found.seconds)
    dampings = {OWN: found.own, **found.others}
    best = max(dampings, key=lambda name: on(chosen_on, dampings[name], 1).mean)
    interval = own if best == OWN else on(~chosen_on, dampings[best])
    return Judged(own, best, interval, found.seconds)


def judge_ways(
    scored: Mapping[str, Scored], parts: Tensor, losses: Tensor, chosen_on: Tensor
) -> tuple[dict[str, Judged], dict[str, Tensor]]:
    """What each way foretells, and its scores [m, n] by its own damping."""
    judged = {name: judge(found, parts, losses, chosen_on) for name, found in scored.items()}
    return judged, {name: found.own for name, found in scored.items()}
