"""What scoring costs: every method of the package beside the released code's loops.

One model is fine-tuned and its gradients are collected once, which is shown apart. Then every
method scores the same n training examples, from the gradients to the final products: for the mean
validation gradient, which is the one query of the paper, and for every validation row. The loops
of `experiments.cost.released` do the first of these, and are timed as the released code's timers do
it and to the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import datainf
from datainf.evaluation import agreement
from experiments.cells import Key
from experiments.cost import released
from experiments.cost.collected import Gradients, collect
from experiments.cost.exact_loop import exact_loop, relative_difference
from experiments.cost.settings import RuntimeSettings
from experiments.cost.timing import Seconds, Timed, alternating, whole
from experiments.methods import METHODS, Variant

VARIANTS: tuple[Variant, ...] = (
    *(Variant(method, steps) for method, steps in METHODS),
    Variant("exact", blocks="module"),
    Variant("exact", blocks="model"),
)
ASKED = ("one query", "all queries")
OWN = Variant("datainf")
"""The method that self-influence is timed by."""


def run(key: Key, settings: RuntimeSettings, folder: Path) -> dict[str, Any]:
    sizes = replace(settings.glue, data=settings.data, train_rows=key["n"])
    found = collect(key["task"], sizes, key["rank"], settings.loop_rows, folder)
    scores: dict[str, Tensor] = {}
    times = alternating(
        ours(found) | loops(found, scores), rounds=settings.rounds, once_above=settings.once_above
    )
    package = {
        variant.name: {asked: entry(times[f"{variant.name}, {asked}"]) for asked in ASKED}
        for variant in VARIANTS
    }
    baseline = {name: entry(times[f"released, {name}"]) for name in scores}
    baseline["exact"], difference = exact_loop(found, settings.exact_seconds)
    return {
        "n": len(found.train), "queries": len(found.query), "threads": torch.get_num_threads(),
        "widths": [block.width for block in found.train.index.blocks],
        "gradients": found.times, "ours": package, "released": baseline,
        "self_influence": entry(times["self-influence"]),
        "difference": differences(found, scores) | {"exact": difference},
        "agreement": agreements(found, scores), "squares": entry(times["squares"]),
    }  # fmt: skip


OURS = {"gradient": Variant("gradient"), "datainf": Variant("datainf"),
        "lissa": Variant("lissa", 10), "exact": Variant("exact")}  # fmt: skip
"""The variant that does what a released loop does, or, for `lissa`, should do."""


def ours(found: Gradients) -> dict[str, Callable[[], Seconds]]:
    """Calls by name. The stores are in memory by the first: collecting and loops have read them."""
    calls = {}
    for variant in VARIANTS:
        for asked, query in zip(ASKED, (found.one, found.query), strict=True):
            calls[f"{variant.name}, {asked}"] = whole(partial(variant.scores, found.train, query))
    calls["self-influence"] = whole(lambda: OWN.self_influence(found.train))
    return calls | {"squares": whole(lambda: squares(found.train))}


def squares(train: datainf.GradientStore) -> list[Tensor]:
    """Each block's squared norms, [n]. λ and the closed form need them; a store holds them, so that
    they are part of what collecting costs, while the loops take them anew."""
    return [G.to_dense().square().sum(dim=1) for G in train.blocks.values()]


def loops(found: Gradients, scores: dict[str, Tensor]) -> dict[str, Callable[[], Seconds]]:
    """Calls of the released loops, all but `exact`; they leave their scores in `scores`."""

    def timed(name: str) -> Seconds:
        scored = released.METHODS[name](found.loop_train, found.loop_query, released.AS_RELEASED)
        scores[name] = scored.scores
        return asdict(scored.timing)

    return {
        f"released, {name}": partial(timed, name) for name in released.METHODS if name != "exact"
    }


def entry(timed: Timed) -> dict[str, Any]:
    """Medians, and the number of runs."""
    return {**timed.medians, "runs": len(timed.runs)}


def agreements(found: Gradients, scores: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """How near to `exact` methods and baselines are for the one query, and the loops as
    released."""
    exact = Variant("exact").scores(found.train, found.one)[0]
    ours = {v.name: v.scores(found.train, found.one)[0] for v in VARIANTS if v.blocks == "tensor"}
    loops = {f"{name}, as released": values for name, values in scores.items()}
    others = found.baselines | {"own loss": -found.train.losses}
    return {name: agreement(values, exact) for name, values in (ours | loops | others).items()}


def differences(found: Gradients, scores: dict[str, Tensor]) -> dict[str, float]:
    """‖loop − ours‖/‖ours‖ of the scores for the one query. LiSSA's is of two recursions."""
    return {
        name: relative_difference(values, OURS[name].scores(found.train, found.one)[0])
        for name, values in scores.items()
    }
