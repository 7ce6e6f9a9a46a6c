"""The paper's runtimes: every method, beside the released code's loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.cells import name
from experiments.finished import Results
from experiments.published import Published
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
         f"{_seconds(loops[name]['as_released'])} by the loops, "
         f"{_seconds(with_norms(method, found))} by ours")
        for method, name in RELEASED_NAMES.items()
        if name in PUBLISHED
    ]  # fmt: skip
    ratio = loops["exact"]["as_released"] / loops["datainf"]["as_released"]
    own = with_norms("exact", found) / with_norms("datainf", found)
    rows += [("seconds of exact / seconds of datainf", "1,149.6 on average over four tasks",
              f"{ratio:,.0f} by the loops, {own:,.0f} by ours")]  # fmt: skip
    setting = "RoBERTa-large, 4,500 training rows, 49 blocks"
    return [Published(what, paper, ours, setting, here, lines) for what, paper, ours in rows]


def write(results: Results) -> list[str]:
    lines = [
        "The gradients are collected once, and shown apart. A method's time is from the gradients "
        "to the final products with all training examples: for the mean validation gradient, the "
        "paper's one query, and for every validation row. The squared norms, which λ and the "
        "closed form need, are in our stores already, as a part of collecting; “with norms” has "
        "the time of taking them anew on top, as the loops do. The loops of the released code, "
        "written anew, score the same gradients for the one query; “as released” is what their "
        "own timers would say, without the final products. Alternating, medians.",
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
            ("method", "one query", "one query, with norms", f"{found['queries']} queries",
             "loops, as released", "loops, with products", "loops / ours, both with all",
             "scores differ by", "published"),
            rows,
        ),
        *([" ".join(notes), ""] if notes else []),
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
    whole = with_norms(method, found)
    one, all_ = (_seconds(ours[asked]["seconds"]) for asked in ("one query", "all queries"))
    times = [one, _seconds(whole), all_]
    name = RELEASED_NAMES.get(method)
    entry = found["released"].get(name) if name else None
    if entry is None or name is None:
        return [method, *times, MISSING, MISSING, MISSING, MISSING, MISSING]
    return [
        method, *times, _seconds(entry["as_released"]), _seconds(entry["with_products"]),
        f"{entry['with_products'] / whole:,.0f}",
        f"{found['difference'][name]:.1g}", PUBLISHED.get(name, MISSING),
    ]  # fmt: skip


def with_norms(method: str, found: Mapping[str, Any]) -> float:
    """Seconds for one query from gradients whose norms are not known: the plain product alone
    needs none."""
    seconds: float = found["ours"][method]["one query"]["seconds"]
    return seconds if method == "gradient" else seconds + found["squares"]["seconds"]


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


def findings(results: Results) -> list[str]:
    """Of the first cell, the paper's own."""
    [line, *_] = results.ledgers["runtime"].select()
    found = line["result"]
    loops = {name: entry["as_released"] for name, entry in found["released"].items()}
    ours = {name: times["one query"]["seconds"] for name, times in found["ours"].items()}
    anew = {name: with_norms(name, found) for name in ours}
    gradients, near = found["gradients"], found["agreement"]
    alone = gradients["one at a time"]["ms_a_row"] / gradients["train"]["ms_a_row"]

    def pearson(name: str) -> str:
        return mean([near[name]["pearson"]], 2)

    return [
        f"In the paper `exact` takes 1,149.6 times as long as DataInf. The loops, written anew, "
        f"take {_seconds(loops['exact'])} and {_seconds(loops['datainf'])} here, "
        f"{loops['exact'] / loops['datainf']:,.0f} times as long. The package's own take "
        f"{_seconds(anew['exact'])} and {_seconds(anew['datainf'])} if the norms are taken anew, "
        f"as the loops do: {anew['exact'] / anew['datainf']:,.0f} times as long. Most of that "
        f"time of `datainf` is the norms'. A store has them, and then the two take "
        f"{_seconds(ours['exact'])} and {_seconds(ours['datainf'])}, "
        f"{ours['exact'] / ours['datainf']:,.0f} times as long. So the ratio is a matter of what "
        f"is counted; products of matrices in place of loops make `exact` "
        f"{loops['exact'] / anew['exact']:,.0f} times as fast and `datainf` "
        f"{loops['datainf'] / anew['datainf']:,.0f} times. That the ratio is smaller than the "
        f"published one fits the sizes: blocks have "
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
