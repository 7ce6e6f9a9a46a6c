"""Open question: how does the error grow with the rank, and which rank is best?"""

from __future__ import annotations

from functools import partial
from typing import Any

from experiments.finished import Results
from experiments.plots import curve, figure
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
    settings = results.settings("glue")
    ranks = sorted(settings.noisy_seeds)
    low, high = ranks[0], ranks[-1]
    auc, pearson, norm = (partial(f, results) for f in (_auc, _pearson, _norm))
    accuracy = partial(_accuracy, results)
    return [
        f"With at most {settings.train_rows} rows, a fifth of them flipped, {settings.epochs} "
        f"epochs and one learning rate at all ranks, it is the lowest. From r = {low} to "
        f"r = {high} the agreement of `datainf` with `exact` "
        f"falls from {pearson(low)} to {pearson(high)}, the AUC of the better methods falls "
        f"(`datainf` scaled to norm 1: {auc('datainf, unit', low)} to "
        f"{auc('datainf, unit', high)}; own loss: {auc('own loss', low)} to "
        f"{auc('own loss', high)}), and accuracy on clean test rows falls from "
        f"{accuracy('noisy', low)} to {accuracy('noisy', high)}. Trained on clean labels it hardly "
        f"does ({accuracy('clean', low)} to {accuracy('clean', high)}), so that it is probably the "
        f"flipped rows that a higher rank fits: the median ‖g‖ at the end falls from {norm(low)} "
        f"to {norm(high)} too, and a row that is fitted has neither loss nor gradient. Plain "
        f"`datainf` is no good at any rank ({auc('datainf', low)} to {auc('datainf', high)}).",
        f"With {results.settings('fullsize').train_rows:,} rows of SST-2 (two seeds) the higher of "
        f"two ranks is not the worse: at r = 1 and r = 4 accuracy is {_many(results, 1)[0]} and "
        f"{_many(results, 4)[0]}, the AUC of `datainf` {_many(results, 1)[1]} and "
        f"{_many(results, 4)[1]}. It is few and noisy rows that call for a low rank.",
    ]


def _auc(results: Results, name: str, rank: int) -> str:
    return mean(mislabeled.seed_means(results, name, "auc", rank), 2)


def _pearson(results: Results, rank: int) -> str:
    return mean(approximation.values(results, "datainf", "pearson", labels="noisy", rank=rank), 2)


def _accuracy(results: Results, labels: str, rank: int) -> str:
    tasks = mislabeled.learnt(results)
    return mean([v for t in tasks for v in _quality(results, "accuracy", t, rank, labels)], 2)


def _norm(results: Results, rank: int) -> str:
    lines = results.ledgers["glue"].select(labels="noisy", rank=rank)
    return mean([line["result"]["norms"]["all"]["median"] for line in lines], 2)


def _many(results: Results, rank: int) -> tuple[str, str]:
    """Accuracy, and the AUC of `datainf`, with the paper's number of rows."""
    lines = results.ledgers["fullsize"].select(task="SST-2", rank=rank)
    found = [line["result"] for line in lines]
    return (
        mean([result["quality"]["test"]["accuracy"] for result in found]),
        mean([result["detection"]["datainf"]["auc"] for result in found]),
    )
