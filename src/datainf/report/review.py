"""review.html: suspects to look at, each to be kept, dropped or relabelled, and a file of that."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from datainf import words
from datainf.applications.mislabeled import COMBINED, Suspects
from datainf.applications.select import Decided
from datainf.data import Examples
from datainf.errors import DataError
from datainf.files import write_atomically
from datainf.redaction import beginning
from datainf.report.examples import Described, label_of
from datainf.report.page import page
from datainf.report.readers import Said
from datainf.report.subject import Subject

REVIEW = "review.html"
TRAIN_CHUNK = 50
NEAR = 3
"""Neighbours that are shown."""
LIMIT, SIDE = 2000, 128
"""Characters of a text, pixels of a picture's side."""
MOST_LABELS = 1000
"""More are not offered in a list; what is typed is held against all."""


def write_review(subject: Subject, found: Suspects, said: Said, path: Path, count: int) -> Path:
    """The page of the first `count` suspects; `said` is what the model says to some rows."""
    contents = _Contents(subject, found, said, count)
    write_atomically(path, page(f"{subject.name} · review", contents.parts(), "review").encode())
    return path


class _Contents:
    def __init__(self, subject: Subject, found: Suspects, said: Said, count: int) -> None:
        run = subject.run
        self.subject, self.found, self.said = subject, found, said
        self.rows = found.order[:count]
        self.train = Described(
            run.train, run.train_losses, run.describe, LIMIT, SIDE, run.train_skipped
        )
        near = {int(row) for suspect in self.rows for row in found.near.rows[suspect][:NEAR]}
        self.shown = sorted({*self.rows, *near})

    def parts(self) -> Iterator[tuple[str, Any]]:
        yield "overview", self._overview()
        for chunk, start in enumerate(range(0, len(self.shown), TRAIN_CHUNK)):
            rows = self.shown[start : start + TRAIN_CHUNK]
            answers = self.said.answers
            yield f"train-{chunk}", [self.train.example(row, answers.get(row)) for row in rows]

    def _overview(self) -> dict[str, Any]:
        train, n = self.subject.run.train, len(self.found.combined)
        labels = self._labels()
        return {
            "run": self.subject.name,
            "summary": f"the {len(self.rows):,} most suspect of "
            f"{words.count(n, 'training example')}",
            "meaning": f"Suspicion puts {words.listed(COMBINED)} together: the nearer to 100 %, "
            "the fewer examples are as suspect. The bars say of each signal alone which share of "
            "all examples is less suspect. Decide with the buttons, and save the decisions to a "
            "file: datainf select --decisions writes the data without what you dropped.",
            "source": train.source,
            "digest": train.digest,
            "n": n,
            "sizes": {"train": TRAIN_CHUNK},
            "shown": self.shown,
            "labels": labels,
            "offered": 0 < len(labels) <= MOST_LABELS,
            "largest": self._largest,
            "names": self.said.names,
            "relabels": self._labelled and not self._several,
            "signals": list(self.found.signals),
            # As texts: a browser rounds large numbers.
            "ids": {str(row): str(train.ids[row]) for row in self.shown},
            "entries": self._entries(),
        }

    def _labels(self) -> list[str]:
        """All that may be given to an example; where any number may be, only if they are few."""
        if not self._labelled:
            return []
        labels = {label_of({"label": own}) for own in self.subject.run.train.labels} - {None}
        found = sorted(map(str, labels), key=_by_number)
        return found if self._largest is None or len(found) <= MOST_LABELS else []

    @property
    def _largest(self) -> float | None:
        """Of the numbers that labels may be; None where they are classes, as a model that has names
        for them knows."""
        return None if self.said.names else self.subject.run.train.largest_label

    @property
    def _labelled(self) -> bool:
        return "label" in self.subject.run.train.columns

    @property
    def _several(self) -> bool:
        """Whether an example may have several labels: those are not typed anew here."""
        labels = self.subject.run.train.labels
        return any(isinstance(labels[row], list) for row in self.rows)

    def _entries(self) -> list[dict[str, Any]]:
        near, sorted_signals = self.found.near, {
            name: np.sort(values.numpy()) for name, values in self.found.signals.items()
        }  # fmt: skip
        return [
            {
                "row": row,
                "rank": rank,
                "combined": _cut(float(self.found.combined[row])),
                "signals": [
                    [name, words.plain(float(f"{float(values[row]):.7g}")),
                     _cut(float(np.searchsorted(sorted_signals[name], float(values[row])))
                          / max(1, len(values) - 1))]
                    for name, values in self.found.signals.items()
                ],
                "near": [
                    [int(r), round(float(c), 4)]
                    for r, c in zip(near.rows[row][:NEAR], near.cosines[row][:NEAR], strict=True)
                ],
            }
            for rank, row in enumerate(self.rows, start=1)
        ]  # fmt: skip


def _cut(share: float) -> float:
    """To four digits, so that what is not all is not rounded to it."""
    return math.floor(1e4 * share) / 1e4


def _by_number(label: str) -> tuple[bool, float, str]:
    """Sorts 2 before 10, and numbers before names."""
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label


def read_decisions(path: Path, train: Examples) -> dict[int, Decided]:
    """What a person decided on the page, by row.

    Raises `DataError` for a file that is none, that holds none, or is of other data.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))  # an editor may mark it
        if not isinstance(found, dict) or not isinstance(found.get("decisions"), list):
            raise ValueError("it has no list of decisions")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", remedy="check the path") from None
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} holds no decisions ({error})", remedy="the file that the review page downloads"
        ) from None
    if "digest" not in found:
        raise DataError(
            f"{path} does not say of which data it is",
            remedy=f'"digest": {json.dumps(train.digest)} beside "decisions"',
        )
    if found["digest"] != train.digest:
        raise DataError(
            f"{path} is of other data than {train.source}, or they have changed since",
            remedy="the decisions of this run's own review page",
        )
    if not found["decisions"]:
        raise DataError(
            f"{path} holds no decision", remedy="decide on the page first, or no --decisions"
        )
    decided: dict[int, Decided] = {}
    for place, entry in enumerate(found["decisions"], start=1):
        where = f"{path}, decision {place}"
        row, one = _decided(where, entry, train)
        if decided.setdefault(row, one) != one:
            raise DataError(f"{where}: there is another for row {row}", remedy="one of them")
    return decided


def _decided(where: str, entry: Any, train: Examples) -> tuple[int, Decided]:
    if not isinstance(entry, dict):
        entry = {"row": entry}
    row, decision, label = (entry.get(name) for name in ("row", "decision", "label"))
    right = isinstance(row, int) and not isinstance(row, bool)
    if right and not 0 <= int(row or 0) < len(train):
        raise DataError(f"{where}: there is no row {row}", remedy=f"0 to {len(train) - 1}")
    if not right or decision not in ("keep", "drop", "relabel"):
        raise DataError(
            f"{where}: {beginning(json.dumps(entry), 100)} is no decision",
            remedy='{"row": 17, "decision": "keep", "drop" or "relabel", "label": …}',
        )
    own = train.ids[int(row or 0)]
    if "id" in entry and not _same_id(entry["id"], own):
        raise DataError(
            f"{where}: row {row} has the id {own!r}, not {entry['id']!r}", remedy="the right row"
        )
    if decision == "relabel":
        if not isinstance(label, str):
            raise DataError(f"{where}: no label for row {row}", remedy="a text")
        train.as_label(int(row or 0), label)
    return int(row or 0), Decided(decision, label)


def _same_id(told: Any, own: int | str) -> bool:
    """Whether a file's id is a row's own. Files of earlier pages have ids that are numbers as
    numbers, which the browser had rounded to floats."""
    if str(told) == str(own):
        return True
    if isinstance(told, bool) or not isinstance(told, int | float) or not isinstance(own, int):
        return False
    try:
        return float(told) == float(own)
    except OverflowError:
        return False
