"""Open question: are the gradients bounded, as the paper's theorem takes for granted?"""

from __future__ import annotations

from functools import partial
from statistics import fmean
from typing import Any

from experiments.finished import Results
from experiments.plots import curve, figure
from experiments.sections import mislabeled
from experiments.tables import folded, mean, spread, table

TITLE = "Open question: are the gradients bounded?"
FOLLOWED = ("datainf", "gradient", "exact", "datainf, unit", "own loss")
LOOKED_AT = {"median": "median ‖g‖", "q99": "99 %", "max": "largest", "top_share": "share of 1 %"}


def looks(results: Results, task: str) -> list[tuple[dict[str, Any], int]]:
    """(what was found, epoch), over seeds and epochs."""
    return [
        (found, int(epoch))
        for line in results.ledgers["training"].select(task=task)
        for epoch, found in line["result"]["epochs"].items()
    ]


def values(results: Results, task: str, epoch: int, *path: str) -> list[float]:
    out: list[float] = []
    for found, when in looks(results, task):
        if when == epoch:
            value: Any = found
            for part in path:
                value = value[part]
            out.append(value)
    return out


def write(results: Results) -> list[str]:
    settings = results.settings("training")
    return [
        "Norms of the training rows' whole gradients during one fine-tuning on noisy labels "
        f"(r = {settings.rank}), and what they do to attribution.",
        "",
        *_plot(results),
        *_table(results),
        *folded("AUC of flipped labels by epoch", _aucs(results)),
        *folded(
            "By rank, at the end of training; mean ± standard deviation over tasks and seeds",
            by_rank(results),
        ),
        *folded("By block, at the end of training, r = 4, seed 0", by_block(results)),
    ]


def _plot(results: Results) -> list[str]:
    settings = results.settings("training")
    file, link = results.figure("norms")
    with figure(file, len(settings.tasks), 2) as axes:
        for column, task in enumerate(settings.tasks):
            for label, path in (
                ("median ‖g‖", ("norms", "all", "median")),
                ("99 %", ("norms", "all", "q99")),
                ("largest ‖g‖", ("norms", "all", "max")),
                ("mean loss", ("train_loss",)),
            ):
                points = {e: values(results, task, e, *path) for e in settings.epochs}
                curve(axes[0, column], label, points)
            for name in FOLLOWED:
                points = {e: values(results, task, e, "auc", name) for e in settings.epochs}
                curve(axes[1, column], name, points)
            axes[0, column].set(title=task, yscale="log")
            axes[1, column].set(title="", xlabel="epoch")
        axes[0, 0].set_ylabel("norm; nats")
        axes[1, 0].set_ylabel("AUC of flipped labels")
    return [f"![Norms and AUC by epoch]({link})", ""]


def _table(results: Results) -> list[str]:
    settings = results.settings("training")
    rows = []
    for task in settings.tasks:
        for epoch in settings.epochs:
            cells = [
                spread(values(results, task, epoch, "norms", "all", what), 2) for what in LOOKED_AT
            ]
            link = values(results, task, epoch, "norm_and_loss", "spearman")
            near = values(results, task, epoch, "agreement", "datainf", "pearson")
            rows.append((task, epoch, *cells, spread(link, 2), spread(near, 2)))
    header = ("task", "epoch", *LOOKED_AT.values(), "Spearman of ‖g‖ and loss")
    return [
        "“Share of 1 %” is the part of Σ‖g_i‖² that the hundredth of rows with the largest norms "
        "has; λ and unnormalised scores hang on it.",
        "",
        *table((*header, "Pearson of datainf with exact"), rows),
    ]


def _aucs(results: Results) -> list[str]:
    settings = results.settings("training")
    rows = [
        (task, name, *(spread(values(results, task, e, "auc", name), 2) for e in settings.epochs))
        for task in settings.tasks
        for name in (*FOLLOWED, *(b for b in mislabeled.BASELINES if b not in FOLLOWED))
    ]
    return table(("task", "suspicion by", *(f"epoch {e}" for e in settings.epochs)), rows)


def by_rank(results: Results) -> list[str]:
    settings = results.settings("glue")
    rows = []
    for rank in sorted(settings.noisy_seeds):
        lines = results.ledgers["glue"].select(labels="noisy", rank=rank)
        found = [line["result"]["norms"]["all"] for line in lines]
        ratios = [entry["max"] / entry["median"] for entry in found]
        rows.append(
            (rank, *(spread([e[w] for e in found], 2) for w in LOOKED_AT), spread(ratios, 1))
        )
    return table(("r", *LOOKED_AT.values(), "largest / median"), rows)


def by_block(results: Results) -> list[str]:
    lines = results.ledgers["glue"].select(labels="noisy", rank=4, seed=0)
    if not lines:
        return []
    blocks = [name for name in lines[0]["result"]["norms"] if name != "all"]
    tasks = [line["key"]["task"] for line in lines]
    rows = [
        (_short(name), *(f"{line['result']['norms'][name]['median']:.2g}" for line in lines))
        for name in blocks
    ]
    return table(("median ‖g‖ of block", *tasks), rows)


def _short(name: str) -> str:
    for noise in ("base_model.model.", "bert.encoder.", ".default", "attention.self.", ".weight"):
        name = name.replace(noise, "")
    return name


def findings(results: Results) -> list[str]:
    return [_bound_grows(results), _scores_by_task(results)]


def _bound_grows(results: Results) -> str:
    epochs, at = results.settings("training").epochs, partial(_at, results)
    last = epochs[-1]
    highest = max(_number(results, epoch, "norms", "all", "median") for epoch in epochs)
    return (
        f"At any moment there is a bound, but it grows with training. The largest norm goes from "
        f"{at(0, 'norms', 'all', 'max')} before the first step to "
        f"{at(last, 'norms', 'all', 'max')} after epoch {last}, while the median goes from "
        f"{at(0, 'norms', 'all', 'median')} to {at(last, 'norms', 'all', 'median')}, by way of "
        f"{mean([highest], 2)}. Norms follow the loss (Spearman "
        f"{at(0, 'norm_and_loss', 'spearman')} before, "
        f"{at(last, 'norm_and_loss', 'spearman')} after). So at the end few rows weigh much "
        f"in Σ‖g‖², from which λ is set, the more the higher the rank: the largest hundredth has "
        f"{_share(results, 1)} of it at r = 1, {_share(results, 4)} at r = 4, "
        f"{_share(results, 16)} at r = 16. (The theorem's "
        f"other premise, a λ bounded below, was not looked at.)"
    )


def _scores_by_task(results: Results) -> str:
    return (
        f"What that does to scores differs from task to task. After epochs "
        f"{', '.join(map(str, results.settings('training').epochs))} the AUC of plain `datainf` is "
        f"{_courses(results, 'datainf')}: on SST-2 no better than chance from epoch 4 on. Scaled "
        f"to norm 1 it is {_courses(results, 'datainf, unit')}: at the end ahead on every task. "
        f"(Two seeds; which moment is best differs too.)"
    )


def _number(results: Results, epoch: int, *path: str) -> float:
    """The mean over all tasks."""
    tasks = results.settings("training").tasks
    return fmean(v for task in tasks for v in values(results, task, epoch, *path))


def _at(results: Results, epoch: int, *path: str) -> str:
    return mean([_number(results, epoch, *path)], 2)


def _share(results: Results, rank: int) -> str:
    """Of the hundredth of rows with the largest norms."""
    lines = results.ledgers["glue"].select(labels="noisy", rank=rank)
    return mean([line["result"]["norms"]["all"]["top_share"] for line in lines], 2)


def _courses(results: Results, name: str) -> str:
    """AUC by epoch, of each task."""
    settings = results.settings("training")
    return "; ".join(
        ", ".join(mean(values(results, task, e, "auc", name), 2) for e in settings.epochs)
        + f" on {task}"
        for task in settings.tasks
    )
