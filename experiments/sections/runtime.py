"""The paper's runtimes: every method, beside the released code's loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.cells import name
from experiments.report import Results
from experiments.tables import MISSING, table

TITLE = "Runtimes (Figure 2, appendix)"
PUBLISHED = {"datainf": "13 s", "lissa": "70 s", "exact": "11,279 s"}
"""QQP, 4,500 points, RoBERTa-large at r = 4: what the released timers say."""
RELEASED_NAMES = {
    "gradient": "gradient",
    "datainf": "datainf",
    "lissa 10": "lissa",
    "exact": "exact",
}


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
