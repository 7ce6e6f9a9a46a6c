"""RESULTS.md: a section for each experiment, made from the ledgers of the studies that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from experiments.cells import Key, Ledger, Study, kept, study
from experiments.glossary import glossary
from experiments.plan import duration
from experiments.published import Published, published_table
from experiments.recipes import recipes
from experiments.tables import table

EXPERIMENTS: dict[str, tuple[str, ...]] = {
    "approximation": ("glue",),
    "mislabeled": ("glue",),
    "fullsize": ("fullsize", "retraining"),
    "runtime": ("runtime",),
    "text": ("text",),
    "images": ("images",),
    "rank": ("glue",),
    "damping": ("glue", "text", "images"),
    "norms": ("training", "glue"),
    "scaling": ("scaling",),
    "adapters": ("adapters",),
}
"""Each experiment, a module of experiments.sections, and the studies that it is made from: its
section is written once the first of them has a finished cell."""


PUBLISHED_ARE = [
    "Most of the paper's figures are plots; these are all that its text, its tables and the "
    "released notebooks state in numbers. Here everything is smaller: what differs is in the table "
    "below, what follows from it and what contradicts the paper in each section's findings.",
    "",
]


@dataclass(frozen=True)
class Results:
    """What sections are made from, and where their figures go."""

    scale: str
    folder: Path
    studies: dict[str, Study]
    ledgers: dict[str, Ledger]

    def settings(self, name: str) -> Any:
        return self.studies[name].settings

    def figure(self, name: str) -> tuple[Path, str]:
        """A figure's file, and its path from the report."""
        return self.folder / "figures" / f"{name}.svg", f"{self._from_report}figures/{name}.svg"

    def kept(self, study: str, key: Key, file: str) -> str | None:
        """The path from the report of a file that a cell left, if it did."""
        path = kept(self.folder, study, key) / file
        if not path.exists():
            return None
        return self._from_report + path.relative_to(self.folder).as_posix()

    @property
    def report(self) -> Path:
        """Beside the ledgers; but that of results/desk stands above, where it is looked for."""
        top = self.folder.parts[-2:] == ("results", "desk")
        return (self.folder.parents[1] if top else self.folder) / "RESULTS.md"

    @property
    def _from_report(self) -> str:
        relative = self.folder.relative_to(self.report.parent).as_posix()
        return "" if relative == "." else f"{relative}/"


def needs(names: Sequence[str], scale: str, data: Path | None) -> list[tuple[Study, list[Key]]]:
    """The studies of some experiments, each once, with their cells."""
    wanted = dict.fromkeys(s for name in names for s in EXPERIMENTS[name])
    studies = [study(name, scale, data) for name in wanted]
    return [(made, made.keys) for made in studies]


def read(folder: Path, scale: str) -> Results:
    """The finished cells in the ledgers of `folder`."""
    studies = {made.name: made for made, _ in needs(list(EXPERIMENTS), scale, None)}
    ledgers = {name: Ledger.of(made, folder).within(made.keys) for name, made in studies.items()}
    return Results(scale, folder, studies, ledgers)


def write(folder: Path, scale: str) -> Path:
    """Write the report and its figures from the ledgers in `folder`; returns its path."""
    results = read(folder, scale)
    parts, figures = [], []
    for name, needed in EXPERIMENTS.items():
        section = import_module(f"experiments.sections.{name}")
        parts += [f"## {section.TITLE}", ""]
        if not results.ledgers[needed[0]].lines:
            parts += ["Not run yet.", ""]
            continue
        figures += section.published(results) if hasattr(section, "published") else []
        parts += _findings(results, section) + section.write(results)
    lines = [
        *_head(results), *_published(figures), *recipes(results.studies), *glossary(), *parts
    ]  # fmt: skip
    results.report.parent.mkdir(parents=True, exist_ok=True)
    results.report.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return results.report


def _findings(results: Results, section: Any) -> list[str]:
    """What we make of the committed runs: words about other runs would be guesses."""
    if results.scale != "desk" or not hasattr(section, "findings"):
        return []
    needed = EXPERIMENTS[section.__name__.rpartition(".")[2]]
    if not all(key in results.ledgers[s] for s in needed for key in results.studies[s].keys):
        return ["Findings: when all cells are finished.", ""]
    first, *others = section.findings(results)
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
        f"{results.scale}` from the finished cells in the ledgers; nothing here is typed in by "
        "hand but the paper's own figures and the words around the numbers. ± is the standard "
        "deviation over seeds; where a table pools tasks, over tasks and seeds, which it says. "
        "Times that cells took are of two cells side by side, on a machine that others used too "
        "now and then; those of the studies `runtime` and `scaling` were measured alone.",
        "",
        *(f"Machine: {machine}" for machine in machines),
        "",
        *table(("study", "cells finished", "time of all its cells"), rows),
    ]
