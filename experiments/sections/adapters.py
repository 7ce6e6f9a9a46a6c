"""Open question: do other adapters than LoRA answer as well?"""

from __future__ import annotations

from typing import Any

from experiments.plots import curve, figure
from experiments.report import Results
from experiments.tables import bold_best, folded, spread, table

TITLE = "Open question: adapters other than LoRA"
DETECTED_BY = (
    "own loss", "representation similarity", "BM25", "random", "gradient", "weighted-gradient",
    "datainf", "lissa 10", "cg 2", "cg 5", "exact", "exact, model blocks", "gradient, unit",
    "datainf, unit", "exact, unit", "cg 3, model blocks, unit, λ trace:0.02",
)  # fmt: skip
AGREEING = ("gradient", "weighted-gradient", "datainf", "lissa 10", "cg 2", "cg 5")


def results_of(results: Results, adapter: str, **key: Any) -> list[dict[str, Any]]:
    return [line["result"] for line in results.ledgers["adapters"].select(adapter=adapter, **key)]


def write(results: Results) -> list[str]:
    settings = results.settings("adapters")
    lines = [
        "The runs on GLUE with a fifth of the labels flipped, by adapter; each with a learning "
        "rate of its own. The last column is the median ratio of taking every example's gradient "
        "to a plain training pass over the same batches.",
        "",
        *_sizes(results),
        *_plot(results),
    ]
    for task in settings.tasks:
        lines += folded(f"AUC of flipped labels, {task}", _detection(results, task))
        lines += folded(f"Pearson with exact, {task}", _agreement(results, task))
    return lines


def _sizes(results: Results) -> list[str]:
    settings = results.settings("adapters")
    rows = []
    for adapter in settings.adapters:
        found = results_of(results, adapter)
        if found:
            tasks = [
                spread(
                    [r["quality"]["test"]["accuracy"] for r in results_of(results, adapter, task=t)]
                )
                for t in settings.tasks
            ]
            rows.append(
                (adapter, f"{settings.learning_rates[adapter]:g}", f"{found[0]['parameters']:,}",
                 found[0]["blocks"], *tasks, spread([r["passes"]["ratio"] for r in found], 2))
            )  # fmt: skip
    header = ("adapter", "learning rate", "parameters", "blocks")
    accuracies = (f"accuracy, {task}" for task in settings.tasks)
    return table((*header, *accuracies, "gradients / training"), rows)


def _plot(results: Results) -> list[str]:
    settings = results.settings("adapters")
    file, link = results.figure("adapters")
    positions = range(len(settings.adapters))
    with figure(file, 2 * len(settings.tasks), height=2.6) as axes:
        for column, task in enumerate(settings.tasks):
            found = [results_of(results, adapter, task=task) for adapter in settings.adapters]
            for name in ("datainf", "gradient", "exact", "datainf, unit", "own loss"):
                points = {i: [r["detection"][name]["auc"] for r in found[i]] for i in positions}
                curve(axes[0, 2 * column], name, points, "o")
            for name in AGREEING:
                points = {
                    i: [r["agreement"]["none, tensor"][name]["pearson"] for r in found[i]]
                    for i in positions
                }
                curve(axes[0, 2 * column + 1], name, points, "o")
            axes[0, 2 * column].set_title(f"{task}: AUC of flipped labels")
            axes[0, 2 * column + 1].set_title(f"{task}: Pearson with exact")
        for ax in axes.flat:
            ax.set_xticks([*positions], settings.adapters, rotation=40, ha="right")
    return [f"![AUC and agreement by adapter]({link})", ""]


def _detection(results: Results, task: str) -> list[str]:
    settings = results.settings("adapters")
    columns = [
        bold_best(
            [
                spread(
                    [r["detection"][name]["auc"] for r in results_of(results, adapter, task=task)]
                )
                for name in DETECTED_BY
            ]
        )
        for adapter in settings.adapters
    ]
    return table(("suspicion by", *settings.adapters), zip(DETECTED_BY, *columns, strict=True))


def _agreement(results: Results, task: str) -> list[str]:
    settings = results.settings("adapters")
    rows = []
    for name in AGREEING:
        cells = [
            spread(
                [
                    r["agreement"]["none, tensor"][name]["pearson"]
                    for r in results_of(results, adapter, task=task)
                ]
            )
            for adapter in settings.adapters
        ]
        rows.append((name, *cells))
    return table(("method", *settings.adapters), rows)
