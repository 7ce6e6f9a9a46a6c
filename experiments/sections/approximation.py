"""The paper's Figure 1: how near is each method to `exact`, as the rank grows?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from experiments.finished import Results
from experiments.glue.settings import GlueSettings
from experiments.plots import curve, figure
from experiments.published import Published
from experiments.recipes import BASES
from experiments.tables import MISSING, folded, mean, spread, table

TITLE = "Approximation error against rank (Figure 1)"
GROUP = "none, tensor"
METHODS = ("gradient", "weighted-gradient", "datainf", "lissa 10", "cg 2", "cg 5")
BASELINES = ("representation similarity", "BM25", "own loss", "random")
MEASURES = {
    "spearman": "Spearman",
    "scaled_residual": "Relative residual of the inverse-vector product, at its best factor",
    "residual": "Relative residual of the inverse-vector product as it is",
}
PUBLISHED = {"datainf": ".64", "gradient": ".50", "lissa 10": ".45"}
"""MRPC, r = 1, 20 % flipped: the only figures in the paper's text."""


def values(
    results: Results, method: str, measure: str, group: str = GROUP, study: str = "glue", **key: Any
) -> list[float]:
    """A measure of a method's agreement with exact, over the finished cells with this key."""
    return [
        found[measure]
        for line in results.ledgers[study].select(**key)
        if measure in (found := line["result"]["agreement"][group][method])
    ]


def write(results: Results) -> list[str]:
    settings = results.settings("glue")
    ranks = sorted(settings.noisy_seeds)
    lines = [
        "Correlation, over the training examples, of each method's influence on the mean "
        "validation loss with that of `exact` (blocks: a tensor each; λ as in the paper).",
        "",
        *_plot(results, "pearson", ranks),
        *_plot(results, "spearman", ranks),
    ]
    for labels in ("noisy", "clean"):
        if not results.ledgers["glue"].select(labels=labels):
            continue
        lines += [
            f"Pearson, {labels} labels; mean ± standard deviation over tasks and "
            f"{_seeds(settings, labels)} seeds:",
            "",
        ]
        lines += by_rank(results, "pearson", ranks, labels)
    for measure, title in MEASURES.items():
        lines += folded(
            f"{title}, noisy labels, over tasks and seeds",
            by_rank(results, measure, ranks, "noisy"),
        )
    for task in settings.tasks:
        lines += folded(
            f"Pearson, {task}, noisy labels", by_rank(results, "pearson", ranks, "noisy", task)
        )
    for group, title in (
        ("unit, tensor", "all gradients scaled to norm 1"),
        ("none, model", "one block for the whole model"),
    ):
        lines += folded(
            f"Pearson with exact of the same kind: {title}, noisy labels",
            by_rank(results, "pearson", ranks, "noisy", group=group),
        )
    return lines


def _seeds(settings: GlueSettings, labels: str) -> str:
    counts = {"noisy": settings.noisy_seeds, "clean": settings.clean_seeds}[labels].values()
    return " to ".join(map(str, sorted({min(counts), max(counts)})))


def published(results: Results, study: str = "glue") -> list[Published]:
    key: dict[str, Any] = {"task": "MRPC", "labels": "noisy", "rank": 1}
    lines = results.ledgers[study].select(**key)
    return [
        Published(
            f"Pearson of {method} with exact, MRPC, r = 1", paper,
            spread(values(results, method, "pearson", study=study, **key)),
            "RoBERTa-large, 3,668 training rows", setting(results.settings(study), lines), lines,
        )
        for method, paper in PUBLISHED.items()
    ]  # fmt: skip


def setting(settings: GlueSettings, lines: Sequence[dict[str, Any]]) -> str:
    """Runs on GLUE in a few words."""
    rows = sorted({line["result"]["rows"] for line in lines})
    sizes = " or ".join(f"{n:,}" for n in rows)
    return f"{BASES.get(settings.base, settings.base).partition(',')[0]}, {sizes} training rows"


def by_rank(
    results: Results,
    measure: str,
    ranks: Sequence[int],
    labels: str,
    task: str | None = None,
    group: str = GROUP,
) -> list[str]:
    chosen = {"labels": labels} | ({} if task is None else {"task": task})
    rows = []
    for method in (*METHODS, *BASELINES):
        cells = [
            spread(values(results, method, measure, group, rank=rank, **chosen)) for rank in ranks
        ]
        if set(cells) != {MISSING}:
            rows.append((method, *cells))
    return table(("method", *(f"r = {rank}" for rank in ranks)), rows)


def _plot(results: Results, measure: str, ranks: Sequence[int]) -> list[str]:
    tasks = results.settings("glue").tasks
    file, link = results.figure(f"approximation-{measure}")
    with figure(file, len(tasks), 2) as axes:
        for row, labels in zip(axes, ("noisy", "clean"), strict=True):
            for ax, task in zip(row, tasks, strict=True):
                for method in METHODS:
                    points: dict[float, list[float]] = {
                        rank: values(results, method, measure, task=task, labels=labels, rank=rank)
                        for rank in ranks
                    }
                    if any(points.values()):
                        curve(ax, method, points)
                ax.set(title=f"{task}, {labels} labels", xscale="log", ylim=(-0.05, 1.03))
                ax.set_xticks(ranks, [str(rank) for rank in ranks])
                ax.minorticks_off()
            row[0].set_ylabel(f"{measure.capitalize()} with exact")
        for ax in axes[-1]:
            ax.set_xlabel("r")
    return [f"![{measure.capitalize()} correlation with exact by rank]({link})", ""]


def findings(results: Results) -> list[str]:
    ranks = sorted(results.settings("glue").noisy_seeds)
    low, high = ranks[0], ranks[-1]
    return [
        _error_by_rank(results, low, high),
        _lissa_not_last(results, low, high),
        _size_of_error(results, low, high),
        "The published level (.64 at r = 1) is not reached with 300 rows. The section on the "
        "paper's number of rows has these figures from runs on so many, that on scaling the "
        "correlation by the number of rows in the curvature, all else equal.",
    ]


def _error_by_rank(results: Results, low: int, high: int) -> str:
    at = partial(_at, results)
    return (
        f"As in the paper, the error grows with the rank: from r = {low} to r = {high} the Pearson "
        f"correlation of `datainf` with `exact` falls from {at('datainf', low)} to "
        f"{at('datainf', high)}. `datainf` is nearer than the plain gradient product at every "
        f"rank, by less and less: {at('gradient', low)} at r = {low}, {at('gradient', 8)} against "
        f"{at('datainf', 8)} at r = 8, {at('gradient', high)} at r = {high}. Part of that comes "
        f"from the weights 1/λ of the blocks alone: `weighted-gradient`, which inverts nothing, "
        f"has {at('weighted-gradient', low)} at r = {low} and {at('weighted-gradient', 8)} at "
        f"r = 8."
    )


def _lissa_not_last(results: Results, low: int, high: int) -> str:
    at = partial(_at, results)
    return (
        f"**Unlike the paper**, where LiSSA comes last (.45 on MRPC), behind the gradient product: "
        f"`lissa` is another algorithm here, with the damping's sign right and the step scaled, "
        f"and its ten steps come before `datainf` at every rank ({at('lissa 10', low)} at "
        f"r = {low}, {at('lissa 10', 8)} at r = 8). In correlation, conjugate gradients do better "
        f"still at the price of a few products with the gradients: two steps have "
        f"{at('cg 2', low)} at r = {low}, five {at('cg 5', low)}, and {at('cg 5', high)} at "
        f"r = {high}."
    )


def _size_of_error(results: Results, low: int, high: int) -> str:
    at = partial(_at, results)
    return (
        f"Correlation hides the size of the error. H⁻¹v by `datainf` misses by "
        f"{at('datainf', low, 'residual')} times ‖v‖ at r = {low} (‖Hx − v‖/‖v‖; x = 0 misses by "
        f"1), since nearly all of v keeps its factor 1/λ; the best factor brings that "
        f"to {at('datainf', low, 'scaled_residual')} there, and that of `weighted-gradient`, "
        f"which inverts nothing, to {at('weighted-gradient', low, 'scaled_residual')} (at the "
        f"higher ranks `datainf` has the lower). The closed form is the reason. λ · mean of "
        f"(λ + g gᵀ)⁻¹ is 1 − mean of g gᵀ/(λ + ‖g‖²): it shrinks a direction by no more than "
        f"the share of the gradients that point along it, and in many dimensions that is little, "
        f"while `exact` shrinks the same direction to λ/(λ + its variance), next to nothing. By "
        f"this measure `lissa` is the best, {at('lissa 10', low, 'residual')} at r = {low} and "
        f"{at('lissa 10', high, 'residual')} at r = {high}, where `cg 5` has "
        f"{at('cg 5', low, 'residual')} and {at('cg 5', high, 'residual')}: conjugate gradients "
        f"make another norm of the error small."
    )


def _at(results: Results, method: str, rank: int, measure: str = "pearson") -> str:
    return mean(values(results, method, measure, labels="noisy", rank=rank), 2)
