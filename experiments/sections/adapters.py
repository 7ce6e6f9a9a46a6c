"""Open question: do other adapters than LoRA answer as well?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from experiments.finished import Results
from experiments.plots import curve, figure
from experiments.sections import approximation
from experiments.tables import bold_best, folded, mean, spread, table

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
        "The runs on GLUE with a fifth of the labels flipped, by adapter. All trained tensors are "
        "blocks, the new head's bias too. Learning rates are not tuned alike: LoRA's is that of "
        "the runs above, DoRA has the same, and each of the others the best of two or three, by "
        "the accuracy of a seed that is not among these (tried by hand, figures not kept); LoRA "
        "and DoRA may be the worse for it. "
        "The last column is the median ratio of taking every example's gradient "
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
                points: dict[float, list[float]] = {
                    i: [r["detection"][name]["auc"] for r in found[i]] for i in positions
                }
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
    for name in (*AGREEING, *approximation.BASELINES):
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


def findings(results: Results) -> list[str]:
    adapters = results.settings("adapters").adapters

    def auc(name: str) -> str:
        return _each(results, lambda r: r["detection"][name]["auc"])

    def pearson(name: str) -> str:
        return _each(results, lambda r: r["agreement"]["none, tensor"][name]["pearson"])

    return [
        f"Other adapters' gradients serve about as well as LoRA's, and their weaknesses are the "
        f"same. In the order {', '.join(adapters)}, "
        f"over both tasks: the "
        f"AUC of flipped labels is {auc('datainf')} by plain `datainf`, {auc('gradient')} by the "
        f"gradient product, {auc('datainf, unit')} by `datainf` scaled to norm 1, and "
        f"{auc('own loss')} by the row's own loss. Scaling "
        f"helps with each, least with prefix tuning, where on QQP it does not.",
        f"The Pearson correlation of `datainf` with `exact` is {pearson('datainf')}, that of the "
        f"gradient product {pearson('gradient')}, of five steps of conjugate gradients "
        f"{pearson('cg 5')}: a little nearer with bottlenecks and IA³ than with LoRA, farthest "
        f"with prefix tuning, which peft holds in one wide tensor (10 tokens × 12 vectors of 384). "
        f"What a gradient costs beside a plain training pass, in medians that alternate, with "
        f"another cell on the other core: {_each(results, lambda r: r['passes']['ratio'])}.",
    ]


def _each(results: Results, figure: Callable[[dict[str, Any]], float]) -> str:
    """Of every adapter, the mean over tasks and seeds."""
    adapters = results.settings("adapters").adapters
    return ", ".join(mean([figure(r) for r in results_of(results, a)], 2) for a in adapters)
