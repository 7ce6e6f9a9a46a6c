"""The paper's Figure 2: do flipped labels come last, at what price, and does dropping them help?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.methods import VARIANTS
from experiments.report import Results
from experiments.tables import bold_best, folded, spread, table

TITLE = "Mislabelled data (Figure 2)"
BASELINES = ("own loss", "representation similarity", "BM25", "random")
DEPTH_RANK = 4


def values(results: Results, name: str, measure: str, **key: Any) -> list[float]:
    return [
        line["result"]["detection"][name][measure]
        for line in results.ledgers["glue"].select(labels="noisy", **key)
    ]


def write(results: Results) -> list[str]:
    settings = results.settings("glue")
    ranks = [rank for rank in sorted(settings.noisy_seeds) if rank <= 8]
    lines = [
        f"A fifth of the training labels is flipped. A row's suspicion is −(its influence on the "
        f"validation loss); the table has the AUC of suspicion for flipped against clean rows, at "
        f"r = {DEPTH_RANK}, and the precision at k, the share of flipped rows among the k most "
        f"suspicious, k being the number of flipped ones.",
        "",
        *published(results),
        *_detection(results, "auc", DEPTH_RANK),
    ]
    lines += folded(
        f"Precision at k, r = {DEPTH_RANK}", _detection(results, "precision", DEPTH_RANK)
    )
    for rank in ranks:
        if rank != DEPTH_RANK:
            lines += folded(f"AUC, r = {rank}", _detection(results, "auc", rank))
            lines += folded(f"Precision at k, r = {rank}", _detection(results, "precision", rank))
    return [*lines, *retraining(results)]


def published(results: Results) -> list[str]:
    rows = [
        (method, figure, spread(values(results, method, "auc", task="SST-2", rank=4)))
        for method, figure in (("datainf", ".775"), ("exact", ".750"))
    ]
    return table(("SST-2, r = 4, AUC", "published (a second-hand summary)", "here"), rows)


def _names(results: Results) -> list[str]:
    """All ways to suspect, as the ledger has them."""
    lines = results.ledgers["glue"].select(labels="noisy")
    there = lines[0]["result"]["detection"] if lines else {}
    order = [variant.name for variant in VARIANTS]
    order += [f"self-influence, {name}" for name in order]
    return [name for name in (*BASELINES, *order) if name in there]


def _detection(results: Results, measure: str, rank: int) -> list[str]:
    tasks = results.settings("glue").tasks
    names = _names(results)
    columns = [
        bold_best([spread(values(results, name, measure, task=task, rank=rank)) for name in names])
        for task in tasks
    ]
    means = bold_best([spread(_seed_means(results, name, measure, rank)) for name in names])
    return table(("suspicion by", *tasks, "mean"), zip(names, *columns, means, strict=True))


def _seed_means(results: Results, name: str, measure: str, rank: int) -> list[float]:
    """The mean over tasks of each seed for which all of them are there."""
    by_seed: dict[int, list[float]] = {}
    for line in results.ledgers["glue"].select(labels="noisy", rank=rank):
        value = line["result"]["detection"][name][measure]
        by_seed.setdefault(line["key"]["seed"], []).append(value)
    whole = len(results.settings("glue").tasks)
    return [sum(found) / whole for found in by_seed.values() if len(found) == whole]


def retraining(results: Results) -> list[str]:
    settings = results.settings("glue")
    lines = results.ledgers["glue"].select(labels="noisy", rank=settings.retrain_rank)
    if not lines:
        return []
    arms = list(lines[0]["result"]["retraining"])
    arms.sort(
        key=lambda arm: (
            ("all", "random", "oracle").index(arm) if arm in ("all", "random", "oracle") else 3
        )
    )

    def of(arm: str, measure: str, task: str) -> list[float]:
        found = results.ledgers["glue"].select(
            labels="noisy", rank=settings.retrain_rank, task=task
        )
        return [line["result"]["retraining"][arm][measure] for line in found]

    def rows(measure: str, digits: int) -> list[Sequence[str]]:
        return [
            (arm, *(spread(of(arm, measure, task), digits) for task in settings.tasks))
            for arm in arms
        ]

    return [
        f"**Training again without the worst {1 - settings.keep:.0%}**, r = "
        f"{settings.retrain_rank}: accuracy on {lines[0]['result']['test']} clean test rows that "
        "took no part in the choice (fewer where the task has fewer), by who chose what to drop.",
        "",
        *table(("kept by", *settings.tasks), rows("accuracy", 3)),
        *folded(
            "Mean cross-entropy on the test rows, nats",
            table(("kept by", *settings.tasks), rows("loss", 3)),
        ),
        *folded(
            "Flipped rows that were kept", table(("kept by", *settings.tasks), rows("flipped", 1))
        ),
    ]
