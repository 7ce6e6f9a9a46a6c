"""RESULTS.md: a section for each experiment, made from the ledgers of the studies that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from experiments.finished import EXPERIMENTS, Results, read
from experiments.glossary import glossary
from experiments.plan import duration
from experiments.published import Published, published_table
from experiments.recipes import recipes
from experiments.tables import table

PUBLISHED_ARE = [
    "Most of the paper's figures are plots; these are all that its text and its tables state in "
    "numbers, with a summary by others of Figure 2's. Here everything is smaller: what "
    "differs is in the table "
    "below, what follows from it and what contradicts the paper in each section's findings.",
    "",
]


def write(folder: Path, scale: str) -> Path:
    """Write the report and its figures from the ledgers in `folder`; returns its path."""
    results = read(folder, scale)
    figures: list[Published] = []
    for name in filter(results.has, EXPERIMENTS):
        module = _section(name)
        figures += module.published(results) if hasattr(module, "published") else []
    lines = [
        *_head(results), *_verdicts(results), *_published(figures), *recipes(results.studies),
        *glossary(), *(line for name in EXPERIMENTS for line in section(results, name)),
    ]  # fmt: skip
    results.report.parent.mkdir(parents=True, exist_ok=True)
    results.report.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return results.report


def section(results: Results, name: str) -> list[str]:
    """An experiment's own lines, and its figures."""
    module = _section(name)
    own = ["Not run yet.", ""]
    if results.has(name):
        own = _findings(results, name) + module.write(results)
    return [f"## {module.TITLE}", "", *own]


def _section(name: str) -> Any:
    return import_module(f"experiments.sections.{name}")


def _verdicts(results: Results) -> list[str]:
    from experiments.verdicts import verdicts  # and with it the sections, and what draws

    if not all(results.committed(study) and results.whole(study) for study in results.studies):
        return []
    return verdicts(results)


def _findings(results: Results, name: str) -> list[str]:
    """What we make of the committed runs: words about other runs would be guesses."""
    module, needed = _section(name), EXPERIMENTS[name]
    if not hasattr(module, "findings") or not all(map(results.committed, needed)):
        return []
    if not all(map(results.whole, needed)):
        return ["Findings: when all cells are finished.", ""]
    first, *others = module.findings(results)
    paragraphs = [f"**Findings.** {first}", *others]
    return [line for paragraph in paragraphs for line in (paragraph, "")]


def _published(figures: Sequence[Published]) -> list[str]:
    if not any(figure.lines for figure in figures):
        return []
    return ["## The paper's figures", "", *PUBLISHED_ARE, *published_table(figures)]


def _head(results: Results) -> list[str]:
    rows = []
    for name, ledger in results.ledgers.items():
        known = [key for key in results.studies[name].keys if key in ledger]
        seconds = sum(ledger.line(key)["seconds"] for key in known)
        rows.append((name, f"{len(known)} of {len(results.studies[name].keys)}", duration(seconds)))
    machines = sorted(
        {line["machine"] for l in results.ledgers.values() for line in l.lines.values()}
    )
    return [
        "# Results",
        "",
        f"Scale: {results.scale}. Written by `python -m experiments report --scale "
        f"{results.scale}` from the finished cells in the ledgers. The paper's own figures, a few "
        "facts about the data sets and the words around the numbers are typed in by hand. ± "
        "is the standard "
        "deviation over seeds; where a table pools tasks, over tasks and seeds, which it says. "
        "Times that cells took are of two cells side by side, on a machine that others used too "
        "now and then; those of the studies `runtime` and `scaling` were measured alone.",
        "",
        *(f"Machine: {machine}" for machine in machines),
        "",
        *table(("study", "cells finished", "time of all its cells"), rows),
    ]
