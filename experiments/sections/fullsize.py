"""The paper's Figures 1 and 2 with as many rows as the paper has."""

from __future__ import annotations

from experiments.published import Published
from experiments.report import Results
from experiments.retrained import Retrained
from experiments.sections import approximation, mislabeled
from experiments.tables import bold_best, folded, spread, table

TITLE = "Figures 1 and 2 with the paper's number of rows"
STUDY = "fullsize"


def write(results: Results) -> list[str]:
    settings = results.settings(STUDY)
    ranks = sorted(settings.noisy_seeds)
    return [
        f"The tables of the two sections above from runs on up to {settings.train_rows:,} rows, a "
        f"fifth of them flipped, and {settings.validation_rows} validation rows.",
        "",
        *_sizes(results, ranks),
        *_agreement(results, ranks, "pearson", "Pearson with exact"),
        *folded(
            "Spearman with exact", _agreement(results, ranks, "spearman", "Spearman with exact")
        ),
        *folded("AUC of flipped labels", _detection(results, ranks, "auc")),
        *folded("Precision at k", _detection(results, ranks, "precision")),
        *_retraining(results),
    ]


def published(results: Results) -> list[Published]:
    again = retrained(results)
    return [
        *approximation.published(results, STUDY),
        *mislabeled.published_detection(results, STUDY),
        mislabeled.published_retraining(again, results.settings(STUDY)),
    ]


def retrained(results: Results) -> Retrained:
    return Retrained(results, "retraining", {})


def _columns(results: Results, ranks: list[int]) -> list[tuple[str, int]]:
    return [(task, rank) for task in results.settings(STUDY).tasks for rank in ranks]


def _header(results: Results, ranks: list[int]) -> list[str]:
    return [f"{task}, r = {rank}" for task, rank in _columns(results, ranks)]


def _sizes(results: Results, ranks: list[int]) -> list[str]:
    rows = []
    for task, rank in _columns(results, ranks):
        lines = results.ledgers[STUDY].select(task=task, rank=rank)
        if lines:
            first = lines[0]["result"]
            accuracy = [line["result"]["quality"]["test"]["accuracy"] for line in lines]
            rows.append((task, rank, first["rows"], first["flipped"], f"{first['parameters']:,}",
                         spread(accuracy), len(lines)))  # fmt: skip
    header = ("task", "r", "training rows", "flipped", "parameters", "test accuracy", "seeds")
    return table(header, rows)


def _agreement(results: Results, ranks: list[int], measure: str, title: str) -> list[str]:
    def of(method: str) -> list[str]:
        return [
            spread(
                approximation.values(results, method, measure, study=STUDY, task=task, rank=rank)
            )
            for task, rank in _columns(results, ranks)
        ]

    methods = (*approximation.METHODS, *approximation.BASELINES)
    return table((title, *_header(results, ranks)), [(method, *of(method)) for method in methods])


def _retraining(results: Results) -> list[str]:
    found, settings = retrained(results), results.settings("retraining")
    if not found.lines():
        return []
    sizes = {task: found.lines(task)[0]["result"]["test"] for task in found.tasks
             if found.lines(task)}  # fmt: skip
    ranks = " and ".join(map(str, settings.ranks))
    return [
        f"**Training again without the worst {1 - settings.glue.keep:.0%}**, r = {ranks}, in runs "
        f"of their own: accuracy on clean test rows that took no part in the choice "
        f"({', '.join(f'{n:,} of {task}' for task, n in sizes.items())}), by who chose.",
        "",
        *found.tables(),
    ]


def _detection(results: Results, ranks: list[int], measure: str) -> list[str]:
    names = mislabeled.ways(results, STUDY)
    columns = [
        bold_best(
            [
                spread(mislabeled.values(results, n, measure, STUDY, task=task, rank=rank))
                for n in names
            ]
        )
        for task, rank in _columns(results, ranks)
    ]
    header = ("suspicion by", *_header(results, ranks))
    return table(header, zip(names, *columns, strict=True))
