"""Tables of the paper's retraining test: how good is a model trained without the worst rows?

A cell's `retraining` holds, for each arm that chose what to drop, the quality on clean test rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.cells import Key
from experiments.finished import Results
from experiments.tables import folded, spread, table

CONTROLS = ("all", "random", "oracle")


@dataclass(frozen=True)
class Retrained:
    """The finished cells of a study, of all its tasks, whose key has this in common."""

    results: Results
    study: str
    common: Key

    @property
    def tasks(self) -> tuple[str, ...]:
        tasks: tuple[str, ...] = self.results.settings(self.study).tasks
        return tasks

    def lines(self, task: str | None = None) -> list[dict[str, Any]]:
        chosen = {} if task is None else {"task": task}
        return self.results.ledgers[self.study].select(**self.common, **chosen)

    def values(self, arm: str, task: str, measure: str = "accuracy") -> list[float]:
        """A figure of every finished seed."""
        return [line["result"]["retraining"][arm][measure] for line in self.lines(task)]

    def gains(self, task: str, arm: str = "datainf") -> list[float]:
        """Of every seed: accuracy on what an arm keeps, less that on all rows."""
        pairs = zip(self.values(arm, task), self.values("all", task), strict=True)
        return [kept - every for kept, every in pairs]

    def tables(self) -> list[str]:
        lines = self.lines()
        if not lines:
            return []
        found = list(lines[0]["result"]["retraining"])
        arms = [*CONTROLS, *(arm for arm in found if arm not in CONTROLS)]

        def of(measure: str, digits: int) -> list[str]:
            rows: list[Sequence[str]] = [
                (arm, *(spread(self.values(arm, task, measure), digits) for task in self.tasks))
                for arm in arms
            ]
            return table(("kept by", *self.tasks), rows)

        return [
            *of("accuracy", 3),
            *folded("Mean cross-entropy on the test rows, nats", of("loss", 3)),
            *folded("Flipped rows that were kept", of("flipped", 1)),
        ]
