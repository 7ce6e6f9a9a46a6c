"""What scoring costs: every method of the package beside the released code's loops.

One model is fine-tuned and its gradients are collected once, which is shown apart. Then every
method scores the same n training examples, from the gradients to the final products: for the mean
validation gradient, which is the one query of the paper, and for every validation row. The loops
of `experiments.released` do the first of these, and are timed as the released code's timers do it
and to the end.

The loop for `exact` adds up n outer products a block, which takes most of the time there is. Where
it would not end in `exact_seconds`, some blocks are measured, at least one of each width; the
others are taken to need as long as those of their width, and the record says so: `scaled`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import datainf
from datainf.estimators import Exact
from experiments import glue, released
from experiments.cells import GRID, Key
from experiments.glue.data import split
from experiments.glue.finetune import finetune, lora
from experiments.glue.settings import GlueSettings
from experiments.mean_query import mean_query
from experiments.methods import METHODS, Variant
from experiments.timing import Seconds, Timed, alternating, whole

ALONE = True
VARIANTS: tuple[Variant, ...] = (
    *(Variant(method, steps) for method, steps in METHODS),
    Variant("exact", blocks="module"),
    Variant("exact", blocks="model"),
)
ASKED = ("one query", "all queries")
OWN = Variant("datainf")
"""The method that self-influence is timed by."""


@dataclass(frozen=True)
class RuntimeSettings:
    """How the gradients are made, and how long it may take to time what is done with them.

    loop_rows: training rows whose gradients are taken one at a time, for the time.
    exact_seconds: about how long the released loop for `exact` may run.
    """

    glue: GlueSettings
    loop_rows: int
    exact_seconds: float
    rounds: int = 3
    once_above: float = 20.0
    tasks: tuple[str, ...] = field(default=("QQP",), metadata=GRID)
    points: tuple[int, ...] = field(default=(4500,), metadata=GRID)
    ranks: tuple[int, ...] = field(default=(4,), metadata=GRID)
    data: Path | None = field(default=None, metadata=GRID)


SETTINGS = {
    "paper": RuntimeSettings(
        glue.SETTINGS["paper"], loop_rows=500, exact_seconds=3 * 3600.0,
        tasks=("QQP", "SST-2", "MRPC", "WNLI"),
    ),
    # Of one epoch: times do not hang on how good the model is.
    "desk": RuntimeSettings(
        replace(glue.SETTINGS["desk"], validation_rows=500, test_rows=0, epochs=1),
        loop_rows=1000, exact_seconds=200.0,
    ),
    "quick": RuntimeSettings(
        replace(glue.SETTINGS["quick"], validation_rows=50, test_rows=0, epochs=1),
        loop_rows=50, exact_seconds=5.0, tasks=("made-up",), points=(200,), ranks=(1,),
    ),
}  # fmt: skip


def cells(settings: RuntimeSettings) -> list[Key]:
    return [
        {"task": task, "n": n, "rank": rank}
        for task in settings.tasks
        for n in settings.points
        for rank in settings.ranks
    ]


@dataclass(frozen=True)
class Gradients:
    """The same gradients for the package and for the loops."""

    train: datainf.GradientStore
    query: datainf.GradientStore
    one: datainf.GradientStore
    loop_train: list[released.Gradients]
    loop_query: released.Gradients
    times: dict[str, Seconds]


def run(key: Key, settings: RuntimeSettings, folder: Path) -> dict[str, Any]:
    found = collect(key, settings, folder)
    times = alternating(
        ours(found) | loops(found), rounds=settings.rounds, once_above=settings.once_above
    )
    package = {
        variant.name: {
            asked: entry(times[f"{variant.name}, {asked}"])
            for asked in ("one query", "all queries")
        }
        for variant in VARIANTS
    }
    baseline = {
        name: entry(times[f"released, {name}"]) for name in released.METHODS if name != "exact"
    }
    baseline["exact"], difference = exact_loop(found, settings.exact_seconds)
    return {
        "n": len(found.train), "queries": len(found.query), "threads": torch.get_num_threads(),
        "widths": [block.width for block in found.train.index.blocks],
        "gradients": found.times, "ours": package, "released": baseline,
        "self_influence": entry(times["self-influence"]),
        "ours_over_released": {
            name: package[OURS[name].name][ASKED[0]]["seconds"] / record["with_products"]
            for name, record in baseline.items()
        },
        "difference": differences(found) | {"exact": difference},
    }  # fmt: skip


OURS = {"gradient": Variant("gradient"), "datainf": Variant("datainf"),
        "lissa": Variant("lissa", 10), "exact": Variant("exact")}  # fmt: skip
"""The variant that does what a released loop does, or, for `lissa`, should do."""


def collect(key: Key, settings: RuntimeSettings, folder: Path) -> Gradients:
    """Fine-tune, take the gradients of the parameters that the released code takes, and time it."""
    sizes = replace(settings.glue, data=settings.data, train_rows=key["n"])
    rows = split(key["task"], sizes, sizes.noise, seed=0)
    model, task = finetune(rows.train, sizes, lora(sizes, key["rank"]), 0, folder)
    parameters, times = released.trainable(model), {}
    for name, part in (("train", rows.train), ("validation", rows.validation)):
        times[name] = rate(
            len(part),
            lambda name=name, part=part: datainf.collect(
                model, part, task, out=folder / name, trainable=parameters
            ),
        )
    alone = rows.train[: settings.loop_rows]
    times["one at a time"] = rate(len(alone), lambda: released.gradients(model, task, alone))
    train, query = (datainf.GradientStore.open(folder / part) for part in ("train", "validation"))
    return Gradients(
        train, query, mean_query(query, folder / "mean"), released.from_store(train),
        released.mean(released.from_store(query)), times,
    )  # fmt: skip


def rate(rows: int, call: Callable[[], object]) -> Seconds:
    """What taking the gradients of so many rows needs, in all and a row."""
    seconds = whole(call)()["seconds"]
    return {"rows": rows, "seconds": seconds, "ms_a_row": 1000 * seconds / rows}


def ours(found: Gradients) -> dict[str, Callable[[], Seconds]]:
    """Calls by name. The stores are in memory by the first: collecting and loops have read them."""
    calls = {}
    for variant in VARIANTS:
        for asked, query in zip(ASKED, (found.one, found.query), strict=True):
            calls[f"{variant.name}, {asked}"] = whole(
                lambda variant=variant, query=query: variant.scores(found.train, query)
            )
    return calls | {"self-influence": whole(lambda: OWN.self_influence(found.train))}


def loops(found: Gradients) -> dict[str, Callable[[], Seconds]]:
    """Calls of the released loops, all but `exact`, which goes by `exact_loop`."""

    def timed(method: str) -> Seconds:
        return seconds(released.METHODS[method], found.loop_train, found.loop_query)[1]

    return {
        f"released, {method}": lambda method=method: timed(method)
        for method in released.METHODS
        if method != "exact"
    }


def seconds(
    method: Callable[..., released.Scored],
    train: Sequence[released.Gradients],
    query: released.Gradients,
) -> tuple[Tensor, Seconds]:
    """A loop's scores [n] and both of its times."""
    scored = method(train, query, released.AS_RELEASED)
    timing = scored.timing
    return scored.scores, {
        "as_released": timing.as_released, "with_products": timing.with_products
    }  # fmt: skip


def entry(timed: Timed) -> dict[str, Any]:
    """Medians, the number of runs, and the most memory beside the gradients."""
    return {**timed.medians, "runs": len(timed.runs), "peak_mib": timed.peak_mib}


def exact_loop(found: Gradients, limit: float) -> tuple[dict[str, Any], float]:
    """Time of the released loop for `exact`, blocks in turn, each once; and how far its scores are
    from the package's over the blocks that were measured."""
    blocks = _one_of_each_width_first(found.loop_query)
    measured: dict[str, Timed] = {}
    scores = torch.zeros(len(found.train), dtype=torch.float64)
    for name in blocks:
        known = _alike(measured, found.loop_query, name)
        spent = sum(timed.longest for timed in measured.values())
        if known and spent + known[0]["with_products"] > limit:
            continue

        def one_block(name: str = name) -> Seconds:
            train = [{name: gradient[name]} for gradient in found.loop_train]
            part, times = seconds(released.exact, train, {name: found.loop_query[name]})
            scores.add_(part)
            return times

        measured[name] = alternating({name: one_block}, rounds=1)[name]
    total = {"as_released": 0.0, "with_products": 0.0}
    for name in blocks:
        alike = [measured[name].runs[0]] if name in measured else _alike(
            measured, found.loop_query, name
        )  # fmt: skip
        for what in total:
            total[what] += sum(times[what] for times in alike) / len(alike)
    peaks = [timed.peak_mib for timed in measured.values() if timed.peak_mib is not None]
    record = total | {
        "runs": 1, "peak_mib": max(peaks) if peaks else None, "blocks": len(blocks),
        "blocks_measured": len(measured), "scaled": len(measured) < len(blocks),
    }  # fmt: skip
    return record, relative_difference(scores, _exact_scores(found, list(measured)))


def _one_of_each_width_first(query: released.Gradients) -> list[str]:
    first = {v.numel(): name for name, v in reversed(query.items())}
    return [*first.values(), *(name for name in query if name not in first.values())]


def _alike(measured: dict[str, Timed], query: released.Gradients, name: str) -> list[Seconds]:
    """The times of the measured blocks that are as wide as this one."""
    width = query[name].numel()
    return [timed.runs[0] for other, timed in measured.items() if query[other].numel() == width]


def _exact_scores(found: Gradients, names: Sequence[str]) -> Tensor:
    """The package's `exact` over some of the blocks, [n]."""
    total = torch.zeros(len(found.train), dtype=torch.float64)
    for name in names:
        G = found.train.blocks[name]
        lam = datainf.Damping().lambda_of(G)
        total += Exact().fit(G).scores(found.one.blocks[name].to_dense(), lam).values[0]
    return total


def differences(found: Gradients) -> dict[str, float]:
    """‖loop − ours‖/‖ours‖ of the scores for the one query. LiSSA's is of two recursions."""
    return {
        method: relative_difference(
            seconds(released.METHODS[method], found.loop_train, found.loop_query)[0],
            OURS[method].scores(found.train, found.one)[0],
        )
        for method in released.METHODS
        if method != "exact"
    }


def relative_difference(found: Tensor, truth: Tensor) -> float:
    return float((found.double() - truth.double()).norm() / truth.double().norm())
