"""What of the paper was seen here, in a few lines: its claim, our figures, a verdict, and where.

The verdicts are our words about the committed runs, and tests hold them against the ledgers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.finished import Results
from experiments.identification import Identification
from experiments.retrained import Retrained
from experiments.sections import approximation, fullsize, images, mislabeled, runtime, text
from experiments.tables import mean, table


@dataclass(frozen=True)
class Verdict:
    """A claim of the paper's; the section is the title of the one that has more."""

    claim: str
    here: str
    verdict: str
    section: str


def verdicts(results: Results) -> list[str]:
    """A table of the paper's claims, for the head of the report."""
    rows = [
        (v.claim, v.here, f"**{v.verdict}**", f"[more](#{_anchor(v.section)})")
        for v in (
            *_figure_1(results), *_figure_2(results), _retraining(results), _runtime(results),
            *_table_1(results),
        )
    ]  # fmt: skip
    return ["## In short", "", *table(("the paper", "here", "verdict", ""), rows)]


def _figure_1(results: Results) -> list[Verdict]:
    ranks = sorted(results.settings("glue").noisy_seeds)
    rows = results.settings(fullsize.STUDY).train_rows

    def at(method: str, rank: int = ranks[0]) -> str:
        found = approximation.values(results, method, "pearson", labels="noisy", rank=rank)
        return mean(found, 2)

    def with_many(method: str, task: str) -> str:
        found = approximation.values(
            results, method, "pearson", study=fullsize.STUDY, task=task, rank=ranks[0]
        )
        return mean(found, 2)

    many = "; ".join(
        f"{with_many('datainf', task)} and {with_many('gradient', task)} on {task}"
        for task in ("MRPC", "SST-2")
    )
    return [
        Verdict(
            "`datainf` is nearer to `exact` than the gradient product, Pearson .64 and .50 "
            "(MRPC, r = 1)",
            f"300 rows: {at('datainf')} and {at('gradient')} over four tasks; up to {rows:,}: "
            f"{many}",
            "seen; the lead is small with the paper's number of rows",
            approximation.TITLE,
        ),
        Verdict(
            "the error grows with the rank",
            f"{at('datainf')} at r = {ranks[0]}, {at('datainf', ranks[-1])} at r = {ranks[-1]}",
            "seen",
            approximation.TITLE,
        ),
        Verdict(
            "LiSSA is behind both, .45",
            f"{at('lissa 10')}, with the damping's sign right and the step scaled; as released, "
            f"in one run, level with `datainf`",
            "not seen",
            runtime.TITLE,
        ),
    ]


def _figure_2(results: Results) -> list[Verdict]:
    few, many = "glue", fullsize.STUDY

    def auc(name: str, study: str) -> str:
        rank = mislabeled.DEPTH_RANK
        found = mislabeled.values(results, name, "auc", study, task="SST-2", rank=rank)
        return mean(found, 2)

    def both(name: str) -> str:
        return f"{auc(name, many)} and {auc(name, few)}"

    return [
        Verdict(
            "`datainf` finds flipped labels, before `exact`: AUC .775 and .750 (SST-2, r = 4)",
            f"{auc('datainf', many)} and {auc('exact', many)} with 4,500 rows, "
            f"{auc('datainf', few)} and {auc('exact', few)} with 300",
            "seen with 4,500 rows, not with 300",
            fullsize.TITLE,
        ),
        Verdict(
            "(no such baseline)",
            f"with 4,500 rows and with 300: own loss {both('own loss')}, likeness of "
            f"representations {both('representation similarity')}, `datainf` scaled to norm 1 "
            f"{both('datainf, unit')}",
            "the row's own loss, which needs no gradient, finds them better",
            fullsize.TITLE,
        ),
    ]


def _retraining(results: Results) -> Verdict:
    def gain(found: Retrained, arm: str = "datainf") -> str:
        return mean(found.gains("SST-2", arm))

    few, many = mislabeled.retrained(results), fullsize.retrained(results)
    return Verdict(
        "training again on the best 70 % by `datainf` beats training on all, MRPC apart",
        f"accuracy changes on SST-2 by {gain(many)} with 4,500 rows (own loss "
        f"{gain(many, 'own loss')}, "
        f"oracle {gain(many, 'oracle')}), by {gain(few)} with 300; on QQP and MRPC with 300 rows "
        f"by {mean(few.gains('QQP'))} and {mean(few.gains('MRPC'))}",
        "not seen: on SST-2 it loses at either size",
        fullsize.TITLE,
    )


def _runtime(results: Results) -> Verdict:
    [line] = results.ledgers["runtime"].select()
    loops = line["result"]["released"]
    ratio = loops["exact"]["as_released"] / loops["datainf"]["as_released"]
    own = runtime.with_norms("exact", line["result"]) / runtime.with_norms(
        "datainf", line["result"]
    )
    return Verdict(
        "`exact` takes 1,149.6 times as long as `datainf`",
        f"{ratio:.0f} times by the loops, written anew, {own:.0f} by ours with the norms counted; "
        f"blocks of up to {max(line['result']['widths']):,} parameters in place of 4,096",
        "seen, at another ratio",
        runtime.TITLE,
    )


def _table_1(results: Results) -> list[Verdict]:
    words = Identification(results, "text", text.NAMES)
    pictures = Identification(results, "images", images.NAMES)

    def aucs(found: Identification, tasks: Sequence[str], group: str, name: str) -> str:
        return ", ".join(mean(found.values(task, group, name, "auc_mean"), 2) for task in tasks)

    def both(task: str) -> str:
        return " and ".join(aucs(pictures, [task], "mean", n) for n in ("datainf", "gradient"))

    tasks = list(text.PUBLISHED)
    return [
        Verdict(
            "text: `datainf` finds a query's class-mates with AUC 1.00 on three tasks",
            f"{aucs(words, tasks, 'prompt', 'datainf')} from the loss of the prompt, as released; "
            f"{aucs(words, tasks, 'completion', 'datainf')} from that of the completion",
            "seen as released, where the prompts name the class; not from the completion",
            text.TITLE,
        ),
        Verdict(
            "images: `datainf` is before the gradient product, .82 and .69 on style, .87 and .82 "
            "on subject",
            f"{both('style')} on style, {both('subject')} on subject",
            "seen on subject; the other way round on style",
            images.TITLE,
        ),
    ]


def _anchor(title: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
