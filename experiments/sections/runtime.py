"""The paper's runtimes: every method, beside the released code's loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.cells import name
from experiments.published import Published
from experiments.report import Results
from experiments.tables import MISSING, mean, table

TITLE = "Runtimes (Figure 2, appendix)"
PUBLISHED = {"datainf": "13 s", "lissa": "70 s", "exact": "11,279 s"}
"""QQP, 4,500 points, RoBERTa-large at r = 4: what the released timers say."""
RELEASED_NAMES = {
    "gradient": "gradient",
    "datainf": "datainf",
    "lissa 10": "lissa",
    "exact": "exact",
}


def published(results: Results) -> list[Published]:
    """Of the cell that is the paper's own, QQP; other ratios stand in the section's table."""
    lines = results.ledgers["runtime"].select()
    if not lines:
        return []
    found = lines[0]["result"]
    here = f"{found['n']:,} training rows, {len(found['widths'])} blocks, one query"
    loops = found["released"]
    rows = [
        (f"seconds of {name}, {lines[0]['key']['task']}", PUBLISHED[name],
         f"{_seconds(loops[name]['as_released'])} by the loops, {_seconds(ours)} by datainf")
        for method, name in RELEASED_NAMES.items()
        if name in PUBLISHED
        for ours in [found["ours"][method]["one query"]["seconds"]]
    ]  # fmt: skip
    ratio = loops["exact"]["as_released"] / loops["datainf"]["as_released"]
    own = [found["ours"][name]["one query"]["seconds"] for name in ("exact", "datainf")]
    rows += [("seconds of exact / seconds of datainf", "1,149.6 on average over four tasks",
              f"{ratio:,.0f} by the loops, {own[0] / own[1]:,.1f} by ours")]  # fmt: skip
    setting = "RoBERTa-large, 4,500 training rows, 49 blocks"
    return [Published(what, paper, ours, setting, here, lines) for what, paper, ours in rows]


def write(results: Results) -> list[str]:
    lines = [
        "The gradients are collected once, and shown apart. A method's time is from the gradients "
        "to the final products with all training examples: for the mean validation gradient, the "
        "paper's one query, and for every validation row. The loops of the released code, written "
        "anew, score the same gradients for the one query; “as released” is what their own timers "
        "would say, without the final products. Alternating, medians.",
        "",
    ]
    for line in results.ledgers["runtime"].select():
        lines += _cell(line["key"], line["result"])
    return lines


def _cell(key: dict[str, Any], found: Mapping[str, Any]) -> list[str]:
    one, loop = found["gradients"]["train"], found["gradients"]["one at a time"]
    ratio = loop["ms_a_row"] / one["ms_a_row"]
    rows = [_row(method, ours, found) for method, ours in found["ours"].items()]
    own = found["self_influence"]
    scaled = [m for m, entry in found["released"].items() if entry.get("scaled")]
    notes = [
        f"`{method}` was measured on {entry['blocks_measured']} of {entry['blocks']} blocks, and "
        "the others taken to need as long as those of their width."
        for method in scaled
        if (entry := found["released"][method])
    ]
    return [
        f"**{name(key)}**: {found['n']:,} training and {found['queries']} validation rows, "
        f"{len(found['widths'])} blocks, {sum(found['widths']):,} parameters, "
        f"{found['threads']} threads. Gradients of the training rows: {one['seconds']:.1f} s, "
        f"{one['ms_a_row']:.2f} ms a row; one at a time, as released, {loop['ms_a_row']:.2f} ms a "
        f"row over {loop['rows']:,} rows: {ratio:.1f} times as long. Self-influence by `datainf`: "
        f"{_seconds(own['seconds'])}.",
        "",
        *table(
            ("method", "one query", f"{found['queries']} queries", "loops, as released",
             "loops, with products", "loops / ours", "scores differ by", "published"),
            rows,
        ),
        *([" ".join(notes), ""] if notes else []),
        f"The squared norms, which λ and the closed form need, are in the store already: they are "
        f"part of collecting. Taking them anew, as the loops do, would need "
        f"{_seconds(found['squares']['seconds'])}.",
        "",
        "Correlation of the scores for the one query with those of `exact`:",
        "",
        *table(
            ("method", "Pearson", "Spearman"),
            [
                (method, f"{entry['pearson']:.3f}", f"{entry['spearman']:.3f}")
                for method, entry in found["agreement"].items()
            ],
        ),
    ]  # fmt: skip


def _row(method: str, ours: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    times = [_seconds(ours[asked]["seconds"]) for asked in ("one query", "all queries")]
    name = RELEASED_NAMES.get(method)
    entry = found["released"].get(name) if name else None
    if entry is None or name is None:
        return [method, *times, MISSING, MISSING, MISSING, MISSING, MISSING]
    return [
        method, *times, _seconds(entry["as_released"]), _seconds(entry["with_products"]),
        f"{entry['with_products'] / ours['one query']['seconds']:,.0f}",
        f"{found['difference'][name]:.1g}", PUBLISHED.get(name, MISSING),
    ]  # fmt: skip


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


def findings(results: Results) -> list[str]:
    """Of the first cell, the paper's own."""
    [line, *_] = results.ledgers["runtime"].select()
    found = line["result"]
    loops = {name: entry["as_released"] for name, entry in found["released"].items()}
    ours = {name: times["one query"]["seconds"] for name, times in found["ours"].items()}
    gradients, near = found["gradients"], found["agreement"]
    alone = gradients["one at a time"]["ms_a_row"] / gradients["train"]["ms_a_row"]

    def pearson(name: str) -> str:
        return mean([near[name]["pearson"]], 2)

    return [
        f"In the paper `exact` takes 1,149.6 times as long as DataInf. The loops, written anew, "
        f"take {_seconds(loops['exact'])} and {_seconds(loops['datainf'])} here, "
        f"{loops['exact'] / loops['datainf']:,.0f} times as long; the package's own take "
        f"{_seconds(ours['exact'])} and {_seconds(ours['datainf'])}, "
        f"{ours['exact'] / ours['datainf']:,.0f} times as long. So products of matrices in place "
        f"of loops make both some {loops['datainf'] / ours['datainf']:,.0f} times as fast and "
        f"leave the ratio. That it is smaller than the published one fits the sizes: blocks have "
        f"{min(found['widths']):,} to {max(found['widths']):,} parameters here and up to 4,096 in "
        f"RoBERTa-large, and the time of `exact` grows faster with them.",
        f"Beside the gradients all of this is short. They take "
        f"{_seconds(gradients['train']['seconds'])} for the training rows (one at a time, as "
        f"released, {alone:.1f} times as long); for one query five steps of conjugate gradients "
        f"take {_seconds(ours['cg 5'])} and have a Pearson correlation of {pearson('cg 5')} with "
        f"`exact`, where `datainf` takes {_seconds(ours['datainf'])} and has {pearson('datainf')}.",
        f"**Unlike the paper**, LiSSA is not behind the gradient product even as it was released: "
        f"its correlation is {pearson('lissa, as released')} in this run, that of the gradient "
        f"product {pearson('gradient')}; with its damping's sign right and its step scaled it is "
        f"{pearson('lissa 10')}.",
    ]
