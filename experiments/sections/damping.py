"""Open question: how does the damping change accuracy and stability, and how to choose it?"""

from __future__ import annotations

from experiments.identification import Identification
from experiments.methods import DAMPINGS, SWEEP, Variant
from experiments.plots import curve, figure
from experiments.report import Results
from experiments.sections import images, text
from experiments.tables import folded, spread, table

TITLE = "Open question: which damping?"
NAMES = [Variant(method, steps).name for method, steps in SWEEP]
KINDS = {
    "dimension": ([d for d in DAMPINGS if ":" not in d], "α in λ = α · mean ‖g‖² / d"),
    "trace": ([d for d in DAMPINGS if ":" in d], "β in λ = β · mean ‖g‖²"),
}


def values(results: Results, method: str, lam: str, measure: str, task: str) -> list[float]:
    rank = results.settings("glue").retrain_rank
    return [
        found[measure]
        for line in results.ledgers["glue"].select(labels="noisy", rank=rank, task=task)
        if measure in (found := line["result"]["damping"][method][lam])
    ]


def write(results: Results) -> list[str]:
    lines = []
    for kind, (dampings, axis) in KINDS.items():
        lines += _plot(results, kind, dampings, axis)
    for dampings, axis in KINDS.values():
        for measure, title in (
            ("auc", "AUC of flipped labels"),
            ("exact", "Spearman with exact at the same damping"),
            ("before", "Spearman with the same method at a tenth of the damping"),
        ):
            lines += folded(f"{title}; {axis}", _table(results, dampings, measure))
    for section, group in ((text, "completion"), (images, "mean")):
        study = section.__name__.rpartition(".")[2]
        if results.ledgers[study].lines:
            found = Identification(results, study, section.NAMES)
            lines += folded(f"AUC of class-mates, {study}", found.damping(group))
    return lines


def _table(results: Results, dampings: list[str], measure: str) -> list[str]:
    tasks = results.settings("glue").tasks
    return table(
        ("method", *dampings),
        [
            (
                name,
                *(
                    spread(
                        [v for task in tasks for v in values(results, name, lam, measure, task)], 2
                    )
                    for lam in dampings
                ),
            )
            for name in NAMES
        ],
    )


def _plot(results: Results, kind: str, dampings: list[str], axis: str) -> list[str]:
    tasks = results.settings("glue").tasks
    file, link = results.figure(f"damping-{kind}")
    with figure(file, len(tasks), 3, height=1.8) as axes:
        for row, (measure, label) in zip(
            axes,
            (("auc", "AUC"), ("exact", "Spearman with exact"), ("before", "Spearman, λ vs λ/10")),
            strict=True,
        ):
            for ax, task in zip(row, tasks, strict=True):
                for name in NAMES:
                    points = {
                        float(lam.rpartition(":")[2]): values(results, name, lam, measure, task)
                        for lam in dampings
                    }
                    if any(points.values()):
                        curve(ax, name, points)
                ax.set(xscale="log", title=task)
            row[0].set_ylabel(label)
        for ax in axes[-1]:
            ax.set_xlabel(axis)
    return [f"![Damping, relative to {kind}]({link})", ""]
