"""Tables of the paper's Table 1, text and images alike: how well scores find a query's class-mates.

A cell's `detection` holds, for each group of gradients and for the group `baselines`, what each
method's scores found; its `damping` holds the mean AUC of the sweep for each group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.dampings import DAMPINGS
from experiments.finished import Results
from experiments.methods import SWEEP, VARIANTS, Variant
from experiments.published import Published
from experiments.tables import bold_best, spread, table

BASELINES = "baselines"
MEASURES = {"auc_mean": "AUC", "recall_mean": "recall"}
SHOWN = ("gradient", "datainf")
"""The methods that the paper's table has."""


Paper = Mapping[str, Mapping[str, tuple[str, str]]]
"""Task → method → AUC and recall."""


@dataclass(frozen=True)
class Identification:
    """The finished cells of a study whose keys are a task and a seed."""

    results: Results
    study: str
    names: Mapping[str, str]
    """What each task is called in tables."""

    @property
    def tasks(self) -> list[str]:
        """Those that have a finished cell."""
        return [t for t in self.results.settings(self.study).tasks if self.lines(t)]

    def lines(self, task: str) -> list[dict[str, Any]]:
        return self.results.ledgers[self.study].select(task=task)

    def found(self, task: str) -> list[dict[str, Any]]:
        """What every finished seed found."""
        return [line["result"] for line in self.lines(task)]

    def values(self, task: str, group: str, name: str, measure: str) -> list[float]:
        """A figure of every finished seed."""
        found = [result["detection"][group] for result in self.found(task)]
        return [entry[name][measure] for entry in found if name in entry]

    def published(
        self, paper: Paper, group: str, paper_setting: str, setting: str
    ) -> list[Published]:
        """The paper's AUC and recall, beside those from a group's gradients."""
        return [
            Published(
                f"AUC / recall of {method}, {self.names[task]}", " / ".join(figures),
                self._both(task, group, method), paper_setting, setting, self.lines(task),
            )
            for task, methods in paper.items()
            for method, figures in methods.items()
        ]  # fmt: skip

    def _both(self, task: str, group: str, method: str) -> str:
        return " / ".join(spread(self.values(task, group, method, m)) for m in MEASURES)

    def beside_published(self, paper: Paper, groups: Mapping[str, str]) -> list[str]:
        """A table of the paper's AUC and recall, and those from each group's gradients."""
        rows = []
        for task in self.tasks:
            for method in SHOWN:
                ours = [self._both(task, group, method) for group in groups]
                published = " / ".join(paper.get(task, {}).get(method, ()))
                rows.append((self.names[task], method, published, *ours))
        header = ("task", "method", "published AUC / recall")
        return table((*header, *(f"here, {name}" for name in groups.values())), rows)

    def detection(self, group: str, measure: str) -> list[str]:
        """A measure by baseline and method (rows) and task (columns)."""
        first = self.found(self.tasks[0])[0]["detection"]
        names = [(BASELINES, name) for name in first[BASELINES]]
        names += [(group, v.name) for v in VARIANTS if v.name in first[group]]
        columns = [
            bold_best([spread(self.values(task, g, name, measure)) for g, name in names])
            for task in self.tasks
        ]
        return table(
            (f"{MEASURES[measure]} by", *(self.names[task] for task in self.tasks)),
            zip([name for _, name in names], *columns, strict=True),
        )

    def damping(self, group: str) -> list[str]:
        """Mean AUC by damping (columns), each task and method a row."""
        rows = []
        for task in self.tasks:
            sweeps = [result["damping"][group] for result in self.found(task)]
            for method, steps in SWEEP:
                name = Variant(method, steps).name
                cells = [
                    spread([s[name][lam] for s in sweeps if lam in s[name]]) for lam in DAMPINGS
                ]
                rows.append((self.names[task], name, *cells))
            for name in self.found(task)[0]["detection"][BASELINES]:  # no λ in them
                auc = spread(self.values(task, BASELINES, name, "auc_mean"))
                rows.append((self.names[task], name, *[auc] * len(DAMPINGS)))
        return table(("task", "method", *DAMPINGS), rows)
