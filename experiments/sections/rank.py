"""Open question: how does the error grow with the rank, and which rank is best?"""

from __future__ import annotations

from typing import Any

from experiments.plots import curve, figure
from experiments.report import Results
from experiments.sections import approximation, mislabeled
from experiments.tables import MISSING, mean, spread, table

TITLE = "Open question: which rank?"
SHOWN = (
    "datainf",
    "gradient",
    "exact",
    "datainf, unit",
    "exact, model blocks, unit, λ trace:0.02",
    "own loss",
)


def write(results: Results) -> list[str]:
    settings = results.settings("glue")
    ranks = sorted(settings.noisy_seeds)
    file, link = results.figure("rank")
    with figure(file, len(settings.tasks), 2) as axes:
        for column, task in enumerate(settings.tasks):
            for name in SHOWN:
                curve(
                    axes[0, column],
                    name,
                    {r: mislabeled.values(results, name, "auc", task=task, rank=r) for r in ranks},
                )
            axes[1, column].set_title("")
            curve(
                axes[1, column],
                "test accuracy",
                {r: _quality(results, "accuracy", task, r) for r in ranks},
            )
            for row in (0, 1):
                axes[row, column].set(title=task, xscale="log")
                axes[row, column].set_xticks(ranks, [str(r) for r in ranks])
                axes[row, column].minorticks_off()
            axes[1, column].set_xlabel("r")
        axes[0, 0].set_ylabel("AUC of flipped labels")
        axes[1, 0].set_ylabel("accuracy")
    return [f"![AUC and accuracy by rank]({link})", "", *_table(results)]


def _table(results: Results) -> list[str]:
    ranks = sorted(results.settings("glue").noisy_seeds)
    lines = {r: results.ledgers["glue"].select(labels="noisy", rank=r) for r in ranks}
    rows = [("parameters", *(_first(lines[r], "parameters") for r in ranks))]
    rows += [("seeds", *(str(len({line["key"]["seed"] for line in lines[r]})) for r in ranks))]
    near = [approximation.values(results, "datainf", "pearson", labels="noisy", rank=r)
            for r in ranks]  # fmt: skip
    rows += [("Pearson of datainf with exact, all tasks", *map(spread, near))]
    rows += [
        (f"AUC, {name}", *(spread(mislabeled.seed_means(results, name, "auc", r)) for r in ranks))
        for name in (*SHOWN, *(b for b in mislabeled.BASELINES if b not in SHOWN))
    ]
    return [
        "AUC is the mean over the tasks that can be learnt, ± over seeds; Pearson's ± is over "
        "tasks and seeds.",
        "",
        *table(("", *(f"r = {r}" for r in ranks)), rows),
    ]


def _first(lines: list[dict[str, Any]], what: str) -> str:
    return f"{lines[0]['result'][what]:,}" if lines else MISSING


def _quality(
    results: Results, measure: str, task: str, rank: int, labels: str = "noisy"
) -> list[float]:
    lines = results.ledgers["glue"].select(labels=labels, task=task, rank=rank)
    return [line["result"]["quality"]["test"][measure] for line in lines]


def findings(results: Results) -> list[str]:
    ranks = sorted(results.settings("glue").noisy_seeds)
    low, high = ranks[0], ranks[-1]

    def auc(name: str, rank: int) -> str:
        return mean(mislabeled.seed_means(results, name, "auc", rank), 2)

    def pearson(rank: int) -> str:
        return mean(
            approximation.values(results, "datainf", "pearson", labels="noisy", rank=rank), 2
        )

    def accuracy(labels: str, rank: int) -> str:
        tasks = mislabeled.learnt(results)
        return mean([v for t in tasks for v in _quality(results, "accuracy", t, rank, labels)], 2)

    def norm(rank: int) -> str:
        lines = results.ledgers["glue"].select(labels="noisy", rank=rank)
        return mean([line["result"]["norms"]["all"]["median"] for line in lines], 2)

    return [
        f"Here, with 300 rows, a fifth of them flipped, 8 epochs and one learning rate at all "
        f"ranks, the lowest. From r = {low} to r = {high} the agreement of `datainf` with `exact` "
        f"falls from {pearson(low)} to {pearson(high)}, the AUC of the better methods falls "
        f"(`datainf` scaled to norm 1: {auc('datainf, unit', low)} to "
        f"{auc('datainf, unit', high)}; own loss: {auc('own loss', low)} to "
        f"{auc('own loss', high)}), and accuracy on clean test rows falls from "
        f"{accuracy('noisy', low)} to {accuracy('noisy', high)}. Trained on clean labels it hardly "
        f"does ({accuracy('clean', low)} to {accuracy('clean', high)}), so that it is probably the "
        f"flipped rows that a higher rank fits: the median ‖g‖ at the end falls from {norm(low)} "
        f"to {norm(high)} too, and a row that is fitted has neither loss nor gradient. Plain "
        f"`datainf` stays near chance, and gains a little ({auc('datainf', low)} to "
        f"{auc('datainf', high)}). Where the rank is free, choose the lowest that learns the task.",
    ]
