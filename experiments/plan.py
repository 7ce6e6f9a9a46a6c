"""What is to be done, what is done, and how long the rest will take.

A cell is expected to take the median time of the finished cells whose keys are most like its own.
The times of the committed run stand beside those from here, at the pace of this machine: the median
ratio over the cells that both have finished, or as they are before there are any.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.table import Table

from experiments.cells import Key, Ledger, Study, name

COMMITTED = Path(__file__).parent / "results"
Times = dict[str, tuple[Key, float]]
"""Of finished cells, by name: the key, and the seconds that it took."""


@dataclass(frozen=True)
class Pending:
    """A cell that has not been run."""

    study: Study
    ledger: Ledger
    key: Key


class Plan:
    """The cells of some studies, and which of them are left."""

    def __init__(self, wanted: list[tuple[Study, list[Key]]], scale: str, folder: Path) -> None:
        self.folder = folder
        self.total = sum(len(keys) for _, keys in wanted)
        self.pending: list[Pending] = []
        self.rows: list[tuple[Study, int]] = [(study, len(keys)) for study, keys in wanted]
        self.broken: list[str] = []
        """Lines of ledgers that cannot be read, file and number; their cells are run again."""
        self._own: dict[str, Times] = {}
        self._committed: dict[str, Times] = {}
        for study, keys in wanted:
            ledger = Ledger.of(study, folder)
            self.pending += [Pending(study, ledger, key) for key in keys if key not in ledger]
            self._own[study.name] = _times(ledger)
            self._committed[study.name] = _times(Ledger.of(study, COMMITTED / scale))
            self.broken += [f"{ledger.file}, line {number}" for number in ledger.broken]

    @property
    def done(self) -> int:
        return self.total - len(self.pending)

    def studies_with(self, field: str) -> list[str]:
        """Those with cells left whose settings have such a field."""
        left = {cell.study.name: cell.study for cell in self.pending}
        return [name for name, study in left.items() if hasattr(study.settings, field)]

    def finished(self, cell: Pending) -> None:
        self.pending.remove(cell)
        line = list(cell.ledger.lines.values())[-1]
        self._own[cell.study.name][name(cell.key)] = (cell.key, line["seconds"])

    def expected(self, cell: Pending) -> float | None:
        """Seconds, None if nothing like it has been measured."""
        own, committed = self._own[cell.study.name], self._committed[cell.study.name]
        ratios = [own[n][1] / committed[n][1] for n in own if n in committed and committed[n][1]]
        pace = median(ratios) if ratios else 1.0
        paced = {n: (key, seconds * pace) for n, (key, seconds) in committed.items()}
        by_likeness: dict[int, list[float]] = defaultdict(list)
        for key, seconds in (paced | own).values():
            same = sum(cell.key.get(k) == v for k, v in key.items())
            by_likeness[same].append(seconds)
        return median(by_likeness[max(by_likeness)]) if by_likeness else None

    def time_left(self, jobs: int) -> float | None:
        """Seconds for what is left, None where a study has no time to go by yet."""
        total = 0.0
        for cell in self.pending:
            if (seconds := self.expected(cell)) is None:
                return None
            total += seconds / (1 if cell.study.alone else jobs)
        return total

    def table(self, jobs: int) -> Table:
        table = Table("study", "cells", "done", "expected")
        for study, count in self.rows:
            left = [cell for cell in self.pending if cell.study.name == study.name]
            times = [self.expected(cell) for cell in left]
            share = 1 if study.alone else jobs
            known = [t for t in times if t is not None]
            text = duration(sum(known) / share) if len(known) == len(times) else "not known yet"
            table.add_row(study.name, str(count), str(count - len(left)), text if left else "")
        return table


def _times(ledger: Ledger) -> Times:
    return {n: (line["key"], line["seconds"]) for n, line in ledger.lines.items()}


def duration(seconds: float) -> str:
    """90 → 1 min 30 s."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
