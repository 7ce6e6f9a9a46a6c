"""One fine-tuning of the study: train again on halves, score by every method, compare."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import describe_machine
from datainf.evaluation import (
    WAYS,
    Interval,
    Judged,
    Way,
    ceiling,
    detection_auc,
    judge,
    judge_ways,
    removal,
)  # fmt: skip
from datainf.evaluation.ways import BY_DIMENSION, BY_ROWS, Scored
from datainf.files import write_atomically
from datainf.progress import Progress
from experiments.fidelity.likeness import folder_of, likeness
from experiments.fidelity.problem import Problem
from experiments.fidelity.problems import problem as make_problem
from experiments.fidelity.settings import SETTINGS, Settings
from experiments.fidelity.stores import Point, Tuned, tuned
from experiments.fidelity.truth import again, half_losses, truth_of

RESULT = "result.json"
DROPPED = 0.1
"""Share of the training rows that the removal tests leave out."""
REMOVERS = (
    "ridge", "datainf", "exact", "gradient", "representation similarity, centred", "own loss",
)  # fmt: skip
"""Who names them, methods as they are at the last weights; and `gauss-newton` and `ridge` at the
checkpoints."""
MORE_WAYS = {
    "exact, α = 10": Way("exact", {"damping": "10"}),
    "exact, module": Way("exact", {"blocks": "module"}, BY_DIMENSION),
    "exact, unit, model": Way(
        "exact", {"normalize": "unit", "blocks": "model", "damping": "trace:0.02"}
    ),
    "recipe of the start": Way(
        "exact",
        {"metric": "adam", "normalize": "unit", "blocks": "model", "damping": "rows:10"},
        BY_ROWS,
    ),
    "exact, drawn targets": Way("exact", {"drawn": True, "damping": "10"}, BY_DIMENSION),
    "gauss-newton, no metric": Way("gauss-newton", {"metric": "none"}),
    "gauss-newton, no unit norms": Way("gauss-newton", {"normalize": "none"}),
    "gauss-newton, queries' unit norms": Way("gauss-newton", {"normalize": "queries"}),
    "gauss-newton, all unit norms": Way("gauss-newton", {"normalize": "unit"}),
    "ridge, metric fisher": Way("ridge", {"metric": "fisher"}),
    "ridge, no metric": Way("ridge", {"metric": "none"}),
    "ridge, no unit norms": Way("ridge", {"normalize": "none"}),
    "ridge, whole solve": Way("ridge", {"steps": 50}),
}


def run(name: str, data: Path, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Everything of one fine-tuning; trainings that are known are not repeated."""
    settings, folder = SETTINGS[name], folder_of(name, out)
    problem = make_problem(name, data)
    halves, losses = half_losses(
        problem, folder, settings.parts, list(settings.seeds), progress=progress
    )
    with tempfile.TemporaryDirectory() as stores:
        made = tuned(problem, Path(stores))
        result = _judged(problem, settings, made, halves, losses)
        scores = result.pop("scores")
    if settings.varies is None:
        result["removal"] = _removed(problem, folder, scores, settings.removal_seeds, progress)
    result |= {
        "name": name, "settings": asdict(settings), "machine": describe_machine(),
        "training_seconds": made.seconds,
    }  # fmt: skip
    write_atomically(folder / RESULT, (json.dumps(rounded(result), indent=1) + "\n").encode())
    return result


def _judged(
    problem: Problem, settings: Settings, made: Tuned, halves: Tensor, losses: Tensor
) -> dict[str, Any]:
    chosen_on = held_out(len(problem.query))
    places = {"last": [made.points[-1]], "checkpoints": kept(made, problem)}
    found: dict[str, Any] = {"lds": {}, "auc": {}}
    scores: dict[str, Tensor] = {}
    for place, points in places.items():
        train, query = [p.train for p in points], [p.query for p in points]
        drawn = [p.curvature for p in points]
        rates = [p.rate_sum for p in points]
        ways = WAYS | MORE_WAYS if settings.varies is None else WAYS
        total = rate_sum(made)
        scored = {name: way.scores(train, query, rates, total, drawn) for name, way in ways.items()}
        judged, own = judge_ways(scored, halves, losses, chosen_on)
        found["lds"][place] = {way: plain_values(j) for way, j in judged.items()}
        scores |= {f"{way} @ {place}": values for way, values in own.items()}
    for way, values in likeness(problem, made).items():
        judged_one = judge(Scored(values), halves, losses, chosen_on)
        found["lds"].setdefault("baselines", {})[way] = plain_values(judged_one)
        scores[way] = values
    if problem.flipped is not None:
        found["auc"] = {
            way: detection_auc(-values.double().mean(dim=0), problem.flipped)
            for way, values in scores.items()
        }
    reported = losses[..., ~chosen_on]
    return found | {
        "scores": scores,
        "ceiling": asdict(ceiling(reported)),
        "losses": {
            "queries, before": float(made.before[1].mean()),
            "queries, after": float(made.points[-1].query.losses.mean()),
            "queries, after halves": float(losses.mean()),
            "training, before": float(made.before[0].mean()),
            "training, after": float(made.points[-1].train.losses.mean()),
        },
        "n": len(problem.train), "m": len(problem.query),
        "parameters": sum(b.width for b in made.points[0].train.index.blocks),
        "blocks": len(made.points[0].train.index.blocks),
        "checkpoints": [p.epoch for p in places["checkpoints"]],
    }  # fmt: skip


def held_out(m: int) -> Tensor:
    """bool [m]: every second query; they are in random order."""
    return torch.arange(m) % 2 == 1


def kept(made: Tuned, problem: Problem) -> list[Point]:
    """The checkpoints that scores are summed over; steps after the last of them are its own."""
    points = [point for point in made.points if point.epoch in problem.recipe.keep]
    after = sum(point.rate_sum for point in made.points) - sum(point.rate_sum for point in points)
    return [*points[:-1], replace(points[-1], rate_sum=points[-1].rate_sum + after)]


def rate_sum(made: Tuned) -> float:
    return sum(point.rate_sum for point in made.points)


def plain_values(judged: Judged) -> dict[str, Any]:
    def interval(value: Interval) -> list[float]:
        return [value.mean, value.low, value.high]

    return {
        "own": interval(judged.own),
        "best": None if judged.best is None else interval(judged.best),
        "damping": judged.damping,
        "seconds": judged.seconds,
    }


def _removed(
    problem: Problem, folder: Path, scores: Mapping[str, Tensor], seeds: tuple[int, ...],
    progress: Progress | None,
) -> dict[str, Any]:  # fmt: skip
    """The removal tests: ranked by the reported queries alone, and judged on them."""
    reported = ~held_out(len(problem.query))
    n, truth = len(problem.train), truth_of(problem, folder)
    arms = {name: scores.get(name, scores.get(f"{name} @ last")) for name in REMOVERS}
    for name in ("gauss-newton", "ridge"):
        arms[f"{name}, checkpoints"] = scores[f"{name} @ checkpoints"]

    def losses(parts: Tensor) -> Tensor:
        known = truth.losses(
            parts, list(seeds), lambda rows, seed: again(problem, rows, seed), progress=progress
        )
        return known[..., reported]

    k, started = round(DROPPED * n), time.perf_counter()
    ranked = {name: values[reported] for name, values in arms.items() if values is not None}
    found = removal(ranked, k, losses)
    return {
        "k": k, "seeds": len(seeds),
        "of one class": {name: _concentration(problem, v, k) for name, v in ranked.items()},
        "seconds": time.perf_counter() - started,
        "arms": {
            name: {end: list(asdict(getattr(r, end)).values()) for end in ("helpful", "harmful")}
            for name, r in found.items()
        },
    }  # fmt: skip


def _concentration(problem: Problem, values: Tensor, k: int) -> list[float] | None:
    """Share of the most frequent class among the k most helpful and the k most harmful rows."""
    if problem.groups is None:
        return None
    order = values.double().mean(dim=0).argsort(descending=True, stable=True).tolist()
    classes = problem.groups[1]
    return [
        Counter(classes[row] for row in rows).most_common(1)[0][1] / k
        for rows in (order[:k], order[-k:])
    ]


def rounded(value: Any) -> Any:
    """To five significant digits: results are committed, and read by people."""
    if isinstance(value, float | np.floating):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {str(k): rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return value
